"""What `taskforge status` and `taskforge doctor` say about containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from taskforge_cli.stack import compose_doctor, compose_status, ports
from taskforge_cli.stack.compose import ComposeStack
from taskforge_cli.stack.docker import Container
from taskforge_cli.stack.findings import Verdict
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import Options
from taskforge_cli.stack.status import StackStatus
from tests.support.places import ROOT
from tests.unit.cli.docker_stand_in import AGE, DockerStandIn, container

_HEALTHY = {"Status": "healthy"}


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port, host="": True)


@pytest.fixture
def stand_in(tmp_path: Path) -> DockerStandIn:
    return DockerStandIn.make(tmp_path / "bin")


@pytest.fixture
def stack(tmp_path: Path, stand_in: DockerStandIn) -> ComposeStack:
    made = ComposeStack(Home(tmp_path / "home"), stand_in.environ)
    made.init(Options(runtime="compose"))
    return made


def _everything() -> dict[str, dict[str, Any]]:
    found = {name: container(name, Health=_HEALTHY) for name in compose_status.SERVICES}
    return found | {"executor": container("executor", Health=_HEALTHY)}


def _rows(status: StackStatus) -> dict[str, tuple[str, bool, str]]:
    return {row.name: (row.state, row.healthy, row.message) for row in status.processes}


def test_every_service_of_the_compose_file_is_expected() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services.keys() == {*compose_status.SERVICES, "executor", "migrate"}


def test_the_services_stop_before_the_database() -> None:
    """docker-compose 1.29 does not look beyond `migrate`, which has ended by then."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    users = {name for name, service in services.items() if "DATABASE_URL" in str(service.get("environment"))}
    assert users == {"gateway", "ingest", "migrate", "scheduler"}
    assert {name for name, service in services.items() if "postgres" in service.get("depends_on", {})} == users


def test_a_stack_that_runs_is_healthy(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.has([*_everything().values(), container("migrate", status="exited")])
    status = stack.status()
    assert (status.running, status.healthy) == (True, True)
    assert _rows(status) == dict.fromkeys([*compose_status.SERVICES, "executor-1"], ("RUNNING", True, ""))
    assert all(abs(row.uptime_seconds - AGE.total_seconds()) < 60 for row in status.processes)


@pytest.mark.parametrize(
    ("state", "shown", "healthy"),
    [
        ({"status": "exited", "ExitCode": 137, "OOMKilled": True}, ("EXITED", "exit code 137, out of memory"), False),
        ({"status": "exited"}, ("EXITED", "exit code 0"), False),
        ({"status": "restarting", "ExitCode": 2}, ("BACKOFF", "exit code 2"), False),
        ({"status": "created", "Error": "port is already allocated"}, ("STOPPED", "port is already allocated"), False),
        ({"Health": {"Status": "unhealthy"}}, ("RUNNING", "its health check fails"), False),
        ({"Health": {"Status": "starting"}}, ("STARTING", ""), True),
    ],
)
def test_a_container_with_a_fault_says_which(
    stack: ComposeStack, stand_in: DockerStandIn, state: dict[str, Any], shown: tuple[str, str], healthy: bool
) -> None:
    stand_in.has((_everything() | {"gateway": container("gateway", **state)}).values())
    status = stack.status()
    row = next(row for row in status.processes if row.name == "gateway")
    assert (row.state, row.message, row.healthy) == (*shown, False)
    assert status.healthy is healthy


def test_a_container_that_is_gone_is_missed(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    found = _everything()
    del found["gateway"]
    stand_in.has(found.values())
    status = stack.status()
    state, healthy, message = _rows(status)["gateway"]
    assert (state, healthy, "taskforge up" in message, status.healthy) == ("STOPPED", False, True, False)
    stand_in.has([])
    down = stack.status()
    assert not down.running
    assert {message for _, _, message in _rows(down).values()} == {""}


@pytest.mark.parametrize(
    ("numbers", "executors", "absent"),
    [([1, 2], 2, []), ([2], 2, ["executor-1"]), ([3, 4], 2, []), ([], 0, []), ([1, 4], 3, ["executor-2"])],
)
def test_executors_are_counted_and_not_numbered(numbers: list[int], executors: int, absent: list[str]) -> None:
    found = [_executor(number) for number in numbers]
    names = compose_status.missing(found, executors)
    assert [name for name in names if name.startswith("executor")] == absent


def test_doctor_looks_at_containers_and_not_at_the_local_runtime(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    stand_in.has((_everything() | {"gateway": container("gateway", status="exited", ExitCode=137)}).values())
    findings = {finding.name: finding for finding in compose_doctor.examine(stack, stand_in.environ)}
    assert findings.keys() >= {"docker", "project", "port", "key-ring", "internal-token", *compose_status.SERVICES}
    assert findings.keys().isdisjoint({"valkey", "durability"})
    bad = [finding for finding in findings.values() if finding.verdict is Verdict.FAIL]
    assert [(each.name, each.message, each.fix) for each in bad] == [
        ("gateway", "exited: exit code 137", "taskforge logs gateway, then: taskforge up")
    ]


def test_doctor_says_what_is_not_there(stack: ComposeStack, stand_in: DockerStandIn) -> None:
    findings = {finding.name: finding for finding in compose_doctor.examine(stack, {"PATH": ""})}
    assert (findings["docker"].verdict, findings["docker"].message) == (Verdict.FAIL, "Docker is not installed")
    stack.env_file.unlink()
    findings = {finding.name: finding for finding in compose_doctor.examine(stack, stand_in.environ)}
    assert (findings["stack"].verdict, findings["stack"].fix) == (Verdict.FAIL, "taskforge init --runtime compose")


def test_doctor_sees_that_others_may_read_the_passwords(stack: ComposeStack) -> None:
    stack.env_file.chmod(0o644)
    findings = {finding.name: finding for finding in compose_doctor.examine(stack, {"PATH": ""})}
    assert str(stack.env_file) in findings["file-modes"].message


def _executor(number: int) -> Container:
    return Container(
        id=str(number),
        name=f"executor-{number}",
        service="executor",
        state="running",
        health="healthy",
        exit_code=0,
        out_of_memory=False,
        uptime_seconds=1.0,
        ports=frozenset(),
        error="",
    )
