"""The local stack in other circumstances: without Redis, on a crowded machine, in deep folders, as root or not."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskforge_cli.stack import config, ports, processes
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.errors import ConfigInvalid, PortTaken, RootUnsupported, StartFailed
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import LocalStack, Options
from tests.support.places import ROOT, clean_environment, free_port, short_folder

_is_root = os.geteuid() == 0
_root_only = pytest.mark.skipif(not _is_root, reason="only root can become others")


@contextmanager
def a_stack(root: Path, **environment: str) -> Iterator[LocalStack]:
    """An initialised stack that is down again after the block, whatever happens in it."""
    stack = LocalStack(Home(root), {**clean_environment(), **environment})
    stack.init()
    try:
        yield stack
    finally:
        stack.down()


def record(stack: LocalStack, **values: object) -> None:
    file = ConfigFile.read(stack.home.config_file)
    for key, value in values.items():
        file.set(key.replace("__", "."), value)  # type: ignore[arg-type]
    file.save()


def leftovers(stack: LocalStack) -> list[processes.Process]:
    return processes.find(str(ConfigFile.read(stack.home.config_file).get("local.id")))


def test_without_redis_there_is_no_valkey_and_everything_is_healthy(folder: Path) -> None:
    with a_stack(folder / "home", TASKFORGE_REDIS="off") as stack:
        stack.up()
        found = stack.status()
        assert found.healthy
        rows = {row.name: row for row in found.processes}
        assert "valkey" not in rows
        variables = Path(f"/proc/{rows['scheduler'].pid}/environ").read_bytes().split(b"\0")
        assert b"TASKFORGE_REDIS_URL=none" in variables
        # The variable belonged to `up`; the running stack is told as it is, and can be changed.
        without_variable = LocalStack(stack.home, clean_environment())
        assert {row.name for row in without_variable.status().processes} == rows.keys()
        without_variable.up()
        assert "valkey" in {row.name for row in without_variable.status().processes}
        assert without_variable.status().healthy


def test_up_takes_another_port_when_the_recorded_one_is_taken(folder: Path) -> None:
    with a_stack(folder / "home") as stack:
        recorded = free_port()
        record(stack, local__port=recorded)
        with socket.create_server((ports.LOOPBACK, recorded)):
            result = stack.up()
            assert f"port {recorded} is taken" in result.notes[0]
            assert result.url == config.load(stack.home, {}).value("server")
            assert stack.status().healthy
        # It stays there: clients have been told.
        assert stack.up().url == result.url


def test_up_refuses_when_the_port_that_was_asked_for_is_taken(folder: Path) -> None:
    wanted = free_port()
    stack = LocalStack(Home(folder / "home"), clean_environment())
    stack.init(Options(port=wanted))
    with socket.create_server((ports.LOOPBACK, wanted)), pytest.raises(PortTaken) as caught:
        stack.up()
    assert caught.value.code == "PORT_TAKEN"
    assert leftovers(stack) == []


def test_metrics_ports_that_others_took_meanwhile_are_replaced(folder: Path) -> None:
    with a_stack(folder / "home") as stack:
        taken = free_port()
        record(stack, local__ports__gateway=taken)
        with socket.create_server((ports.LOOPBACK, taken)):
            stack.up()
            assert stack.status().healthy
        assert ConfigFile.read(stack.home.config_file).get("local.ports.gateway") != taken


def test_a_port_that_is_lost_during_the_start_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    looks = iter([True])  # free when it is chosen, and never again
    really_free = ports.is_free
    monkeypatch.setattr(ports, "is_free", lambda port: next(looks, False) if port == taken else really_free(port))
    with a_stack(folder / "home") as stack:
        record(stack, local__ports__gateway=taken)
        with socket.create_server((ports.LOOPBACK, taken)):
            stack.up()
            assert stack.status().healthy
        assert ConfigFile.read(stack.home.config_file).get("local.ports.gateway") != taken


def test_a_start_that_fails_says_why_and_leaves_nothing(folder: Path) -> None:
    with a_stack(folder / "home") as stack:
        record(stack, local__postgres__shared_buffers="plenty")
        with pytest.raises(StartFailed, match='invalid value for parameter "shared_buffers": "plenty"') as caught:
            stack.up()
        assert caught.value.hint == "taskforge logs postgres"
        assert leftovers(stack) == []


def test_a_drain_time_that_is_no_number_is_told_before_anything_starts(folder: Path) -> None:
    with a_stack(folder / "home", TASKFORGE_DRAIN_SECONDS="soon") as stack:
        with pytest.raises(ConfigInvalid, match="TASKFORGE_DRAIN_SECONDS is 'soon'"):
            stack.up()
        assert leftovers(stack) == []


def test_a_service_that_refuses_its_environment_ends_the_start_at_once(folder: Path) -> None:
    with a_stack(folder / "home", TASKFORGE_LOG_LEVEL="loud") as stack:
        with pytest.raises(StartFailed, match="TASKFORGE_LOG_LEVEL is 'loud'") as caught:
            stack.up()
        assert caught.value.hint.startswith("taskforge logs ")
        assert leftovers(stack) == []


def test_settings_that_only_a_restart_applies_are_told(folder: Path) -> None:
    with a_stack(folder / "home") as stack:
        assert stack.up().notes == ()
        record(stack, local__environment__TASKFORGE_EXECUTOR_SLOTS="8")
        for _ in range(2):
            (note,) = stack.up().notes
            assert note.endswith("have changed since the start: taskforge restart")
        stack.restart(["executor-1"])
        assert stack.up().notes == (note,)
        assert stack.restart().notes == ()
        executor = next(row.pid for row in stack.status().processes if row.name == "executor-1")
        assert b"TASKFORGE_EXECUTOR_SLOTS=8" in Path(f"/proc/{executor}/environ").read_bytes().split(b"\0")


def test_a_home_with_a_long_path_keeps_its_sockets_elsewhere(folder: Path) -> None:
    root = folder / ("a long path " * 8) / "home"
    with a_stack(root) as stack:
        stack.up()
        found = stack.status()
        assert found.healthy
        sockets = Path(ConfigFile.read(stack.home.config_file).get("local.sockets"))
        assert not sockets.is_relative_to(root)
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert all(len(row.listen.removeprefix("unix:")) <= 107 for row in found.processes)
    assert not sockets.exists()


def test_pids_that_do_not_belong_to_the_stack_are_left_alone(folder: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=folder)
    with a_stack(folder / "home") as stack:
        stack.up()
        os.kill(next(row.pid for row in stack.status().processes if row.name == "supervisor") or 0, 9)
        stack.down()
    assert bystander.poll() is None
    bystander.communicate(b"\n")


_LIFE = """
import sys
from taskforge_cli.stack.local import LocalStack
from taskforge_cli.stack.errors import StackError
stack = LocalStack()
try:
    stack.init()
    stack.up()
    print("healthy", stack.status().healthy, stack.query_database("SELECT 6 * 7"))
except StackError as error:
    print(error.code, error.message)
finally:
    stack.down()
"""


def live(home: Path, *wrapper: str) -> str:
    """Init, up, status and down in a process of its own, started through `wrapper`."""
    environment = {**clean_environment(), "TASKFORGE_HOME": str(home), "HOME": str(home.parent)}
    command = [*wrapper, sys.executable, "-c", _LIFE]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@_root_only
def test_root_runs_postgres_as_a_user_of_its_own_in_its_closed_home(folder: Path) -> None:
    home = folder / "home"
    with a_stack(home) as stack:
        stack.up()
        postgres = next(row.pid for row in stack.status().processes if row.name == "postgres")
        status = Path(f"/proc/{postgres}/status").read_text()
        uid = int(next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:")))
        assert uid != 0
        with pytest.raises(KeyError):
            pwd.getpwuid(uid)
        capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
        assert int(capabilities, 16) == 1 << 2  # CAP_DAC_READ_SEARCH and nothing else
        assert "NoNewPrivs:\t1" in status
        assert home.stat().st_mode & 0o777 == 0o700
        assert (home / "data" / "postgres").stat().st_uid == uid


@_root_only
@pytest.mark.skipif(not shutil.which("capsh"), reason="capsh is not installed")
def test_the_root_of_a_container_has_enough_rights(folder: Path) -> None:
    dropped = "cap_sys_admin,cap_dac_read_search,cap_sys_ptrace,cap_sys_resource,cap_net_admin,cap_ipc_lock"
    wrapper = ["capsh", f"--drop={dropped}", "--shell=/usr/bin/env", "--"]
    assert live(folder / "home", *wrapper) == "healthy True 42"


@_root_only
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_the_root_of_a_container_with_one_user_has_enough_rights(folder: Path) -> None:
    home = folder / "home"
    assert live(home, "unshare", "--user", "--map-root-user") == "healthy True 42"
    assert (home / "data" / "postgres").stat().st_uid == 0
    # The same home, later, outside the container.
    assert live(home) == "healthy True 42"


@_root_only
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_where_root_can_do_nothing_it_is_told_what_to_do(folder: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    said = live(folder / "home", "unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    assert said.startswith("ROOT_UNSUPPORTED PostgreSQL does not run as root")
    assert RootUnsupported.code == "ROOT_UNSUPPORTED"


@_root_only
def test_an_ordinary_user_has_enough_rights() -> None:
    # It may read root's folders, where this interpreter may lie, and is an ordinary user in everything else.
    with short_folder() as folder:
        os.chown(folder, 61764, 61764)
        wrapper = [sys.executable, "-m", "taskforge_cli.stack.unprivileged", "uid:61764"]
        assert live(folder / "home", *wrapper) == "healthy True 42"
        assert (folder / "home" / "data" / "postgres").stat().st_uid == 61764


@_root_only
def test_a_home_of_somebody_else_is_refused() -> None:
    with short_folder() as folder:
        os.chown(folder, 61764, 61764)
        wrapper = [sys.executable, "-m", "taskforge_cli.stack.unprivileged", "uid:61764"]
        live(folder / "home", *wrapper)
        code = "from taskforge_cli.stack.local import LocalStack; LocalStack().up()"
        environment = {**clean_environment(), "TASKFORGE_HOME": str(folder / "home")}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert "HomeUnusable" in done.stderr
        assert "belongs to user 61764" in done.stderr
