"""Failpoints: off unless asked for, each shot once, each action, and only from a folder that nobody else can fill."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import structlog

from taskforge.failpoints import FailpointError, FolderRefused, Point, checked_folder, reach
from taskforge.failpoints.actions import act
from taskforge.failpoints.shots import Action, Range, Shot
from tests.chaos.parts.shots import Shots
from tests.support.places import ROOT

_ALL = (
    "import asyncio, sys, pathlib\n"
    "from taskforge.failpoints import *\n"
    "from taskforge.runtime.logging import configure_logging\n"
    "configure_logging('child', log_format='json', level='info')\n"
)
_RACER = (
    _ALL
    + "switch_on(checked_folder(pathlib.Path(sys.argv[1])), 'racer')\n"
    + "async def race():\n"
    + "    hit = 0\n"
    + "    for _ in range(200):\n"
    + "        try:\n"
    + "            await reach(Point.HINT_READ)\n"
    + "        except FailpointError:\n"
    + "            hit += 1\n"
    + "    print(hit)\n"
    + "print('ready', flush=True)\n"
    + "sys.stdin.readline()\n"
    + "asyncio.run(race())\n"
)
_VICTIM = (
    _ALL
    + "switch_on(checked_folder(pathlib.Path(sys.argv[1])), 'victim')\n"
    + "asyncio.run(reach(Point.DRAINING))\n"
    + "print('lives')\n"
)


@pytest.fixture
def shots(folder: Path) -> Shots:
    return Shots(folder / "shots")


def child(program: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "services")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shot(action: Action, seconds: float = 0.0) -> Shot:
    return Shot(point=Point.HINT_READ, action=action, seconds=seconds, chance=1.0)


async def test_without_a_folder_nothing_happens_at_any_point() -> None:
    for point in Point:
        await reach(point)


async def test_without_a_folder_a_point_costs_next_to_nothing() -> None:
    async def pass_by(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            await reach(Point.HINT_READ)
        return (time.perf_counter() - started) / times

    assert min([await pass_by(2_000) for _ in range(5)]) < 5e-6  # far above what it takes, far below a round trip


def test_a_shot_fires_once_however_many_processes_race_for_it(shots: Shots) -> None:
    shots.arm(Point.HINT_READ, Action.RAISE, times=100)
    racers = [child(_RACER, shots.folder) for _ in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    hits = [int(racer.communicate(timeout=30)[0]) for racer in racers]

    assert sum(hits) == 100
    assert shots.left() == 0
    by_pid = Counter(fired.pid for fired in shots.fired())
    assert [by_pid[racer.pid] for racer in racers] == hits
    assert {(fired.point, fired.action, fired.service) for fired in shots.fired()} == {
        (Point.HINT_READ, Action.RAISE, "racer")
    }


def test_kill_ends_the_process_at_once_and_a_restart_lives(shots: Shots) -> None:
    shots.arm(Point.DRAINING, service="victim")
    shots.arm(Point.DRAINING, service="somebody-else")
    first, second = child(_VICTIM, shots.folder), child(_VICTIM, shots.folder)
    outcomes = [victim.communicate(timeout=30) for victim in (first, second)]

    assert sorted([first.returncode, second.returncode]) == [-signal.SIGKILL, 0]
    assert sorted(output for output, _ in outcomes) == ["", "lives\n"]
    assert all("failpoints_switched_on" in said for _, said in outcomes)
    assert [fired.pid for fired in shots.fired()] == [(first if first.returncode else second).pid]
    assert shots.left() == 1


async def test_hang_holds_the_task_and_not_the_process() -> None:
    hanging = asyncio.create_task(act(shot(Action.HANG, 60), FailpointError))
    done, _ = await asyncio.wait([hanging], timeout=0.01)
    assert not done
    hanging.cancel()


async def test_freeze_holds_everybody() -> None:
    ticks: list[float] = []
    asyncio.get_running_loop().call_later(0.001, lambda: ticks.append(time.monotonic()))
    started = time.monotonic()
    await act(shot(Action.FREEZE, 0.05), FailpointError)
    assert time.monotonic() - started >= 0.05
    assert ticks == []


async def test_raise_takes_the_error_that_the_place_asks_for() -> None:
    with pytest.raises(FailpointError):
        await act(shot(Action.RAISE), FailpointError)
    with pytest.raises(ConnectionResetError, match="hint-read"):
        await act(shot(Action.RAISE), ConnectionResetError)


def test_a_chance_is_for_each_time_that_the_point_is_reached(shots: Shots) -> None:
    random.seed(7)
    shots.arm(Point.HINT_READ, Action.RAISE, times=200, chance=0.25)
    armed = Range(checked_folder(shots.folder), "any-service")
    for _ in range(200):
        armed.claim(Point.HINT_READ)
    assert 30 <= len(shots.fired()) <= 70
    assert shots.left() == 200 - len(shots.fired())
    shots.disarm()
    assert shots.left() == 0


@pytest.mark.parametrize(
    "content", ["", "[]", '{"action": "explode"}', '{"action": "hang"}', '{"action": "kill", "chance": "x"}']
)
def test_a_bad_shot_is_ignored_and_told_once(shots: Shots, content: str) -> None:
    (shots.folder / f"{Point.HINT_READ}@any.00.json").write_text(content, encoding="utf-8")
    shots.arm(Point.HINT_READ, Action.RAISE)
    armed = Range(checked_folder(shots.folder), "any-service")
    with structlog.testing.capture_logs() as logs:
        assert armed.claim(Point.HINT_READ) is not None
        assert armed.claim(Point.HINT_READ) is None
    assert [entry["event"] for entry in logs].count("failpoint_shot_ignored") == 1


def test_a_test_cannot_arm_nonsense(shots: Shots) -> None:
    with pytest.raises(ValueError, match="no-such-point"):
        shots.arm("no-such-point")
    with pytest.raises(ValueError, match="seconds"):
        shots.arm(Point.DRAINING, Action.FREEZE)


def test_only_a_private_folder_of_our_own_is_taken(folder: Path) -> None:
    folder.chmod(0o700)
    assert checked_folder(folder) == folder.resolve()
    for mode in (0o755, 0o770, 0o701, 0o500):
        folder.chmod(mode)
        with pytest.raises(FolderRefused, match="mode"):
            checked_folder(folder)
    folder.chmod(0o700)
    with pytest.raises(FolderRefused, match="missing"):
        checked_folder(folder / "missing")
    (folder / "file").write_text("", encoding="utf-8")
    with pytest.raises(FolderRefused, match="no folder"):
        checked_folder(folder / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    os.chown(folder, 65534, 65534)
    with pytest.raises(FolderRefused, match="another user"):
        checked_folder(folder)
    os.chown(folder, 0, 0)


def test_a_service_with_a_bad_folder_does_not_start(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskforge.scheduler"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "services")}
        | {"TASKFORGE_TEST_FAILPOINTS": str(folder / "nowhere")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "TASKFORGE_TEST_FAILPOINTS names" in done.stderr
    assert "cannot be used" in done.stderr
