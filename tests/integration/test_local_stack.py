"""The local stack as a whole: real PostgreSQL, Valkey, Envoy and services, kept alive by a real supervisor."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskforge_cli.stack import doctor, install, logs, ports, processes
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.errors import NoSuchProcess, StackError
from taskforge_cli.stack.findings import Verdict
from taskforge_cli.stack.local import Options
from taskforge_cli.stack.processes import STACK_VARIABLE
from tests.support.stack import OwnStack, own_stack
from tests.support.waiting import eventually_now

_EVERYBODY = {"postgres", "valkey", "edge", "scheduler", "gateway", "ingest", "executor-1"}


@pytest.fixture(scope="module")
def stack() -> Iterator[OwnStack]:
    with own_stack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _running(stack: OwnStack) -> None:
    stack.local.up()


def stack_id(stack: OwnStack) -> str:
    return str(ConfigFile.read(stack.local.home.config_file).get("local.id"))


def pids(stack: OwnStack) -> dict[str, int]:
    return {name: pid for name, pid in stack.pids().items() if name != "supervisor"}


def healthy_again(stack: OwnStack) -> None:
    def check() -> None:
        unhealthy = [row for row in stack.local.status().processes if not row.healthy]
        assert not unhealthy

    eventually_now(check, within=30)


def get(url: str, token: str = "") -> tuple[int, Any]:
    host = url.removeprefix("http://").partition("/")[0]
    with closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", url.removeprefix(f"http://{host}"), headers=headers)
        answer = connection.getresponse()
        return answer.status, json.load(answer)


def test_every_process_is_healthy_and_told_with_its_place(stack: OwnStack) -> None:
    found = stack.local.status()
    assert found.running
    assert found.healthy
    assert {row.name for row in found.processes} == {*_EVERYBODY, "supervisor"}
    for row in found.processes:
        assert row.state == "RUNNING", row
        assert row.pid
        assert row.listen
        assert row.memory_bytes > 1_000_000, row
        assert row.uptime_seconds > 0, row


def test_only_the_edge_and_the_metrics_listen_on_tcp_and_only_on_loopback(stack: OwnStack) -> None:
    file = ConfigFile.read(stack.local.home.config_file)
    allowed = {file.get("local.port"), *file.get("local.ports").values()}
    owned = {found.pid for found in processes.find(stack_id(stack))}
    listening = {address for pid in owned for address in tcp_listeners(pid)}
    assert {port for _, port in listening} == allowed
    assert {host for host, _ in listening} == {"127.0.0.1"}


def tcp_listeners(pid: int) -> set[tuple[str, int]]:
    found = psutil.Process(pid).net_connections("tcp")
    return {(item.laddr.ip, item.laddr.port) for item in found if item.status == psutil.CONN_LISTEN}


def test_the_api_answers_to_the_token_and_to_nobody_else(stack: OwnStack) -> None:
    status, body = get(f"{stack.server}/v1/status", stack.token)
    assert (status, body["schema_version"] > 0) == (200, True)
    status, body = get(f"{stack.server}/v1/status")
    assert (status, body["code"]) == (401, 16)


def test_up_again_leaves_every_process_alone(stack: OwnStack) -> None:
    before = stack.pids()
    result = stack.local.up()
    assert not result.started
    assert result.url == stack.server
    assert stack.pids() == before


@pytest.mark.parametrize("name", sorted(_EVERYBODY))
def test_a_killed_process_comes_back(stack: OwnStack, name: str) -> None:
    before = pids(stack)
    stack.kill(name)

    def is_back() -> None:
        assert stack.pids().get(name, before[name]) != before[name]

    eventually_now(is_back, within=20)
    healthy_again(stack)
    after = pids(stack)
    assert {other: pid for other, pid in after.items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def test_postgres_comes_back_although_orphans_hold_its_memory(stack: OwnStack) -> None:
    stack.local.query_database("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    busy = subprocess.Popen(psql(stack, "SELECT pg_sleep(300)"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_busy() -> None:
        count = stack.local.query_database("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'")
        assert count == "1"

    eventually_now(is_busy)
    before = stack.pids()["postgres"]
    # A child that sleeps notices the end of its postmaster late; a stopped one not at all.
    orphans = [found.pid for found in processes.find_postgres(stack_id(stack)) if found.pid != before]
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)

    def is_back() -> None:
        assert stack.pids().get("postgres", before) != before
        assert stack.local.query_database("SELECT n FROM kept") == "7"

    eventually_now(lambda: _unless_unreachable(is_back), within=30)
    assert busy.wait(10) != 0
    assert not [pid for pid in orphans if processes.is_alive(pid)]
    stack.local.query_database("DROP TABLE kept")
    healthy_again(stack)


def _unless_unreachable(check: Any) -> None:
    try:
        check()
    except StackError as error:
        raise AssertionError(error.message) from error


def psql(stack: OwnStack, statement: str) -> list[str]:
    sockets = ConfigFile.read(stack.local.home.config_file).get("local.sockets") or stack.local.home.run_dir
    program = str(install.locate().postgres("psql"))
    return [program, "-h", f"{sockets}/pg", "-U", "taskforge", "-c", statement, "taskforge"]


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_postgres(stack: OwnStack) -> None:
    stack.local.down()
    pid_file = stack.local.home.postgres_dir / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n1\n5432\n/tmp\n\n  1  1\nready\n")
    stack.local.up()
    healthy_again(stack)


def test_without_its_supervisor_the_stack_is_told_as_such_and_taken_over(stack: OwnStack) -> None:
    before = stack.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    eventually_now(lambda: _is_unsupervised(stack))
    result = stack.local.up()
    assert result.started
    healthy_again(stack)
    assert not [pid for pid in before.values() if processes.is_alive(pid)]


def _is_unsupervised(stack: OwnStack) -> None:
    found = stack.local.status()
    assert not found.running
    assert {row.state for row in found.processes} == {"UNSUPERVISED"}


def test_down_works_without_a_supervisor_and_leaves_nothing(stack: OwnStack) -> None:
    before = stack.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    result = stack.local.down()
    assert set(result.leftovers) >= _EVERYBODY
    assert not [pid for pid in before.values() if processes.is_alive(pid)]


def test_down_stops_in_order_and_leaves_no_process(stack: OwnStack) -> None:
    everyone = [found.pid for found in processes.find(stack_id(stack))]
    result = stack.local.down()
    order = result.stopped
    assert order[0] == "edge"
    assert set(order[-2:]) == {"valkey", "postgres"}
    assert order.index("executor-1") < order.index("scheduler") < order.index("postgres")
    assert result.leftovers == ()
    assert processes.find(stack_id(stack)) == []
    assert not [pid for pid in everyone if processes.is_alive(pid)]
    assert ports.is_free(int(stack.server.rpartition(":")[2]))
    found = stack.local.status()
    assert {row.state for row in found.processes} == {"STOPPED"}
    assert stack.local.down().stopped == ()


def test_what_was_stored_survives_down_and_up(stack: OwnStack) -> None:
    stack.local.query_database("CREATE TABLE stays (n int); INSERT INTO stays VALUES (1)")
    stack.local.restart()
    assert stack.local.query_database("TABLE stays") == "1"
    stack.local.query_database("DROP TABLE stays")


def test_one_service_is_restarted_alone(stack: OwnStack) -> None:
    before = pids(stack)
    stack.local.restart(["executor"])
    after = pids(stack)
    assert {name for name in before if before[name] != after[name]} == {"executor-1"}
    with pytest.raises(NoSuchProcess) as caught:
        stack.local.restart(["executioner"])
    assert "executor-1" in caught.value.hint


def test_executors_are_added_and_taken_away(stack: OwnStack) -> None:
    before = pids(stack)
    stack.local.scale(3)
    grown = pids(stack)
    assert grown.keys() == {*_EVERYBODY, "executor-2", "executor-3"}
    assert {name: grown[name] for name in before} == before
    assert stack.local.status().healthy
    stack.local.scale(1)
    assert pids(stack) == before


def test_two_ups_at_once_make_one_stack(stack: OwnStack) -> None:
    stack.local.down()
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(stack.local.up())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(result.started for result in results) == [False, True]
    supervisors = [found for found in processes.find(stack_id(stack)) if found.name == "supervisor"]
    assert len(supervisors) == 1


def test_logs_are_kept_by_process_and_can_be_followed(stack: OwnStack) -> None:
    home = stack.local.home
    assert set(logs.available(home)) >= {*_EVERYBODY, "migrate", "supervisord"}
    assert "ready to accept connections" in "\n".join(line.text for line in logs.tail(home, ["postgres"]))
    assert {line.process for line in logs.tail(home, ["executor-1"], lines=1)} == {"executor-1"}
    assert "executor-1" in {line.process for line in logs.tail(home, ["executor"], lines=1)}
    with pytest.raises(NoSuchProcess):
        logs.tail(home, ["nobody"])
    follower = logs.follow(home, ["edge"])

    def call_and_restart() -> None:
        get(f"{stack.server}/v1/nothing-here?secret=1")
        stack.local.restart(["edge"])  # Envoy writes its access log in batches, and at its end

    caller = threading.Timer(0.2, call_and_restart)
    caller.start()
    line = next(line for line in follower if "nothing-here" in line.text)
    caller.join()
    entry = json.loads(line.text)
    assert (entry["status"], entry["path"]) == (404, "/v1/nothing-here")
    assert "secret" not in line.text


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_followed_logs_go_on_after_a_rotation(folder: Path, stack: OwnStack) -> None:
    home = type(stack.local.home)(folder)
    home.create()
    log = home.log_dir / "gateway.log"
    log.write_text("old\n")
    follower = logs.follow(home)
    writing = threading.Timer(0.1, append, (log, "one\n"))
    writing.start()
    assert next(follower).text == "one"
    writing.join()
    log.rename(log.with_name("gateway.log.1"))
    log.write_text("two\n")
    assert next(follower).text == "two"
    assert [line.text for line in logs.tail(home, lines=2)] == ["one", "two"]


def test_the_running_server_keeps_what_it_acknowledged(stack: OwnStack) -> None:
    shown = stack.local.query_database(
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')"
    )
    assert shown == "on|on|on"


def test_the_processes_get_their_own_environment_only(stack: OwnStack) -> None:
    pid = stack.pids()["executor-1"]
    variables = dict(item.split("=", 1) for item in Path(f"/proc/{pid}/environ").read_text().split("\0") if item)
    assert variables[STACK_VARIABLE] == stack_id(stack)
    assert variables["TASKFORGE_REDIS_URL"].startswith("unix:///")
    assert "TASKFORGE_DATABASE_URL" not in variables
    assert "PYTEST_CURRENT_TEST" not in variables
    assert "TASKFORGE_HOME" not in variables


def test_doctor_finds_a_healthy_stack_healthy(stack: OwnStack) -> None:
    findings = doctor.examine(stack.local, stack.environment)
    assert [finding for finding in findings if finding.verdict is Verdict.FAIL] == []
    assert {"postgres", "durability", "key-ring", "file-modes", "port", "clock"} <= {found.name for found in findings}


def test_doctor_finds_and_mends_what_is_open_to_others(stack: OwnStack) -> None:
    stack.local.home.keyring_file.chmod(0o644)
    bad = [found for found in doctor.examine(stack.local, stack.environment) if found.verdict is Verdict.FAIL]
    assert [found.name for found in bad] == ["file-modes"]
    assert str(stack.local.home.keyring_file) in bad[0].message
    assert doctor.repair(bad) == bad
    assert stack.local.home.keyring_file.stat().st_mode & 0o777 == 0o600


def test_doctor_says_when_durability_is_off(stack: OwnStack) -> None:
    stack.local.query_database("ALTER SYSTEM SET fsync = off")
    stack.local.query_database("SELECT pg_reload_conf()")
    try:
        eventually_now(lambda: _durability_fails(stack))
    finally:
        stack.local.query_database("ALTER SYSTEM RESET fsync")
        stack.local.query_database("SELECT pg_reload_conf()")


def _durability_fails(stack: OwnStack) -> None:
    findings = {found.name: found for found in doctor.examine(stack.local, stack.environment)}
    assert findings["durability"].verdict is Verdict.FAIL
    assert "fsync is off" in findings["durability"].message


def test_a_port_given_to_up_moves_the_edge_of_a_running_stack(stack: OwnStack) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    before = pids(stack)
    result = stack.local.up(Options(port=port))
    assert result.url.endswith(f":{port}")
    assert get(f"{stack.server}/v1/status", stack.token)[0] == 200
    after = pids(stack)
    assert {name for name in before if before[name] != after[name]} == {"edge"}
