"""What PostgreSQL keeps its data on: a full disk, an old copy, settings with which a crash loses commits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from taskforge.invariants.check import check
from taskforge.invariants.resting import rests
from taskforge.store.guard import ACCEPT
from tests.chaos.experiment import experiment
from tests.chaos.history import read_history
from tests.chaos.lab import Lab
from tests.chaos.parts.postgres_node import Node, running_node
from tests.chaos.parts.replication import migrated
from tests.chaos.parts.small_disk import SmallDisk, small_disk, why_no_small_disk
from tests.chaos.verdict import judge
from tests.chaos.world.broker import look, until_all_read
from tests.chaos.world.load import Load
from tests.chaos.world.logs import Logs
from tests.chaos.world.recovery import answered_again, recovered, refused_for_now
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.world import World
from tests.support.places import short_folder
from tests.support.waiting import eventually

_AT_ONCE = 4
_PAUSE = 0.05
_MEGABYTES = 300
_WAL = {"min_wal_size": "32MB", "max_wal_size": "64MB"}
_FULL_SECONDS = 20.0
_FILL_SECONDS = 30.0  #: until the room is used up that PostgreSQL still has in its files
_BACK_SECONDS = 30.0
_FORGOTTEN = 25  #: runs that the copy lacks
_NOTICE_SECONDS = 20.0  #: services look every 15 s
_EXECUTORS = ("executor-1", "executor-2")
_USERS = ("scheduler-1", "gateway-1", "ingest-1")
_RISKY = ("fsync", "full_page_writes", "synchronous_commit")
_REFUSALS = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
_STATUSES = {"", "503", "504"}


@experiment(
    "F21",
    "The disk of PostgreSQL is full, and emptied after a while",
    threshold="starts are refused as unavailable; without help they are confirmed again, and nothing is lost",
    seconds=35,
    needs_root=True,
    in_subset=False,
)
async def the_disk_is_full(lab: Lab) -> None:
    if why_no_small_disk():
        lab.skip(why_no_small_disk())
    with short_folder() as folder:
        folder.chmod(0o711)
        with small_disk(folder / "disk", megabytes=_MEGABYTES) as disk, running_node(disk.folder, **_WAL) as node:
            migrated(node)
            async with (
                lab.world(database_host=node.address) as world,
                lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load,
            ):
                for _ in range(lab.times(2)):
                    await _fill_and_empty(lab, disk, node, load)
                await load.finished()
                await lab.verify(world, load)
            await lab.end_world()


@experiment(
    "F28",
    "PostgreSQL is restored from a copy that is older than the hints in Valkey",
    threshold="unknown hints are read and forgotten without a traceback; the restored runs end as they should",
    seconds=30,
)
async def an_old_copy_is_restored(lab: Lab) -> None:
    async with lab.world() as world:
        for _ in range(lab.times(3)):
            async with lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
                await _lose_what_is_new(lab, world, load)
            async with lab.load(world, runs=20, at_once=_AT_ONCE) as load:
                await load.finished()
                await lab.verify(world, load)


@experiment(
    "F29",
    "PostgreSQL runs with fsync, full_page_writes or synchronous_commit switched off",
    threshold="no service that uses it is ready, each says why, and is ready again without a restart",
    seconds=30,
)
async def settings_are_risky(lab: Lab) -> None:
    async with lab.world(environment={ACCEPT: ""}) as world:
        settings = lab.rng.sample(_RISKY, lab.times(len(_RISKY)))
        for number, setting in enumerate(settings):
            logs = Logs(world)
            await _set(world, f"ALTER SYSTEM SET {setting} = off")
            if number > 0 or len(settings) == 1:  # the first of several they must notice while they run
                for name in _USERS:
                    world.kill(name, signal.SIGKILL)
            await eventually(partial(_all_refuse, logs, setting), within=_NOTICE_SECONDS)
            await eventually(lambda: _none_is_ready(world), within=RECOVERY_SECONDS, pause=0.2)
            await _set(world, f"ALTER SYSTEM RESET {setting}")
            await world.settled()
            lab.injected(f"{setting} off")
        async with lab.load(world, runs=10, at_once=_AT_ONCE) as load:
            await load.finished()
            await lab.verify(world, load)


async def _fill_and_empty(lab: Lab, disk: SmallDisk, node: Node, load: Load) -> None:
    await load.reached(len(load.acknowledged) + 10)
    before = load.driver.errors.copy()
    disk.fill()
    lab.injected("disk full")
    await refused_for_now(load, count=2 * _AT_ONCE, within=_FILL_SECONDS)
    asked = len(load.driver.ops)
    await asyncio.sleep(max(5.0, lab.scale * _FULL_SECONDS))
    _were_refused(lab, {error.code for error in load.driver.errors - before}, load, asked)
    disk.empty()
    if not node.is_running:  # it gives up when it cannot write its log; whoever looks after it starts it again
        lab.injected("PostgreSQL ended by itself")
        await asyncio.to_thread(node.start)
    lab.measured("confirmed after there was room s", await answered_again(load, within=_BACK_SECONDS))
    await recovered(load, at_once=_AT_ONCE)


def _were_refused(lab: Lab, codes: set[str], load: Load, asked: int) -> None:
    """Whatever needed room. What fits into the files as they are may be confirmed all the same."""
    statuses = {op.status for op in load.driver.ops[asked:] if op.action == "deliver" and op.kind == "unknown"}
    lab.expect(bool(codes | statuses), "nothing was refused")
    lab.expect(codes <= _REFUSALS, f"calls were refused with {sorted(codes)}")
    lab.expect(statuses <= _STATUSES, f"webhooks were answered {sorted(statuses)}")


async def _lose_what_is_new(lab: Lab, world: World, load: Load) -> None:
    """Copy the database, go on, and put the copy back while hints for what it lacks wait to be read."""
    data = world.postgres.folder / "data"
    copy = data.with_name("copy")
    await load.reached(10)
    await _while_away(world, lambda: _copy(data, copy))
    await answered_again(load)
    for name in _EXECUTORS:
        await world.halt(name, signal.SIGTERM)
    await load.reached(len(load.acknowledged) + _FORGOTTEN)
    await load.abandon()
    async with world.redis() as client:
        unknown = (await look(client)).unread
        logs = Logs(world)
        await _while_away(world, lambda: _move(copy, data))
        for name in _EXECUTORS:
            world.resume(name)
        await world.settled()
        await until_all_read(client, within=RECOVERY_SECONDS)
    lab.injected("restored from an old copy")
    lab.injected("hint from after the copy", unknown)
    lab.expect(unknown > 0, "no hint was left to be read")
    await eventually(partial(_all_ended, load), within=2 * RECOVERY_SECONDS, pause=0.25)
    lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
    await _judge_what_is_there(lab, world, load)


async def _judge_what_is_there(lab: Lab, world: World, load: Load) -> None:
    """The confirmed runs that the copy lacks must be missed; what it has must be right by itself."""
    lab.outcome.runs += len(load.acknowledged)
    told = await judge(world, load, faults=(), final=True)
    lost = [violation for violation in told if violation.invariant == "I1"]
    lab.measured("confirmed runs that the copy lacks", len(lost))
    for name in _EXECUTORS:
        os.truncate(world.log(name), 0)  # what they were told before the restoration holds no more
    lab.expect(len(lost) >= _FORGOTTEN, f"the checker misses {len(lost)} confirmed runs only")
    async with world.database() as connection:
        history = await read_history(connection, load.name)
    for violation in [*check(history), *rests(history, grace=RECOVERY_SECONDS)]:
        lab.outcome.violations.append(f"after the restoration: {violation}")


async def _all_ended(load: Load) -> None:
    unfinished = await load.unfinished()
    assert unfinished == 0, f"{unfinished} of the restored runs have not ended"


async def _while_away(world: World, act: Callable[[], None]) -> None:
    await world.halt("postgres")
    await asyncio.to_thread(act)
    world.resume("postgres")
    await eventually(lambda: _is_up(world), within=_BACK_SECONDS)


async def _is_up(world: World) -> None:
    assert await asyncio.to_thread(world.keeper.members["postgres"].is_up), "PostgreSQL does not answer"


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def _move(source: Path, target: Path) -> None:
    subprocess.run(["rm", "-rf", str(target)], check=True)
    source.rename(target)


async def _set(world: World, statement: str) -> None:
    async with world.database() as owner:
        await owner.execute(statement)
        await owner.execute("SELECT pg_reload_conf()")


def _all_refuse(logs: Logs, setting: str) -> None:
    told = {line.process for line in logs.told("database_refused") if setting in line.text}
    assert told == set(_USERS), f"only {sorted(told)} refuse a server with {setting} off"


async def _none_is_ready(world: World) -> None:
    for name in _USERS:
        ready = await asyncio.to_thread(world.keeper.members[name].is_up)
        assert not ready, f"{name} is ready with a server that may lose what it confirms"
