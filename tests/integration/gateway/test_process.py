"""The gateway as a process: its faults, its dependencies away and back, its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from taskforge.v1 import run_pb2, run_service_pb2, secret_service_pb2, system_service_pb2, workflow_service_pb2
from tests.support.engine import Engine
from tests.support.gateway import Api, Platform
from tests.support.places import short_folder
from tests.support.postgres import PostgresCluster
from tests.support.services import Services, is_serving
from tests.support.waiting import eventually

WORKFLOW = "name: demo\nsteps:\n  - {id: call, http: {url: 'http://localhost/'}}\n"
STATUS = system_service_pb2.GetStatusRequest()


async def components(api: Api) -> dict[str, bool]:
    status = await api.call(api.system.GetStatus, STATUS)
    return {component.name: component.healthy for component in status.components}


async def test_every_fault_of_the_environment_is_told_before_it_leaves(services: Services, folder: Path) -> None:
    keyring = folder / "bad.json"
    keyring.write_text("{}")
    keyring.chmod(0o600)
    service = services.start(
        "gateway",
        ready=False,
        TASKFORGE_DATABASE_URL="",
        TASKFORGE_SCHEDULER="nowhere",
        TASKFORGE_KEYRING_FILE=str(keyring),
        TASKFORGE_ADMIN_TOKEN_SHA256="abc",
    )
    assert service.process.wait() == 2
    output = service.process.output()
    for name in ("DATABASE_URL", "SCHEDULER", "KEYRING_FILE", "ADMIN_TOKEN_SHA256"):
        assert f"TASKFORGE_{name}" in output


async def test_a_second_one_does_not_take_the_first_one_s_socket(services: Services) -> None:
    services.start("gateway")
    second = services.start("gateway", ready=False)
    assert second.process.wait() == 2
    assert "cannot start: another process listens on" in second.process.output()
    assert is_serving(second.address)


async def test_a_killed_one_leaves_room_for_the_next(services: Services) -> None:
    services.start("gateway").process.kill()
    services.start("gateway")


async def test_a_taken_port_is_told(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        for variable in ("TASKFORGE_LISTEN", "TASKFORGE_METRICS_LISTEN"):
            gateway = services.start("gateway", {variable: address}, ready=False)
            assert gateway.process.wait() == 2
            assert f"cannot start: cannot listen on {address}" in gateway.process.output()


async def test_status_shows_each_part_and_what_waits(platform: Platform, api: Api, engine: Engine) -> None:
    assert await components(api) == {"postgres": True, "scheduler": False, "gateway": True}
    async with platform.scheduler():
        await eventually(lambda: _is_healthy(api))
        await api.apply(WORKFLOW)
        await api.start("demo")
        status = await api.call(api.system.GetStatus, STATUS)
    assert (status.active_runs, status.queued_steps, status.open_dead_letters) == (1, 1, 0)
    assert status.oldest_queued_seconds >= 0
    assert status.schema_version >= 4
    assert status.version


async def _is_healthy(api: Api) -> None:
    assert (await components(api))["scheduler"]


async def test_without_a_scheduler_reads_work_and_starts_are_unavailable(api: Api, engine: Engine) -> None:
    await api.apply(WORKFLOW)
    requests: list[tuple[object, Message]] = [
        (api.runs.StartRun, run_service_pb2.StartRunRequest(workflow="workflows/demo")),
    ]
    [row] = await engine.fetch("SELECT revision_id FROM revisions")
    name = f"runs/{await engine.start(row['revision_id'])}"
    requests.append((api.runs.CancelRun, run_service_pb2.CancelRunRequest(name=name)))
    for method, request in requests:
        refusal = await api.refused(method, request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SCHEDULER_UNAVAILABLE")
        assert refusal.retry.retry_delay.ToMilliseconds() > 0
    assert (await api.run(name)).state == run_pb2.Run.State.STATE_QUEUED


async def test_a_start_waits_out_the_restart_of_the_scheduler(platform: Platform, api: Api) -> None:
    await api.apply(WORKFLOW)
    async with platform.scheduler():
        await api.start("demo")
    start = asyncio.create_task(api.start("demo"))
    async with platform.scheduler():
        assert (await start).state == run_pb2.Run.State.STATE_QUEUED


async def test_a_start_respects_its_callers_deadline(api: Api) -> None:
    await api.apply(WORKFLOW)
    request = run_service_pb2.StartRunRequest(workflow="workflows/demo")
    refusal = await api.refused(api.runs.StartRun, request, timeout=0.8)
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert "send the same request_id again" in refusal.metadata["hint"]


@pytest.fixture
def own_cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL that a test may stop."""
    with short_folder() as path:
        cluster = PostgresCluster(path)
        try:
            cluster.start()
            cluster.migrate()
            yield cluster
        finally:
            cluster.stop()


async def test_it_starts_while_the_database_is_away_and_is_ready_once_it_comes(
    own_cluster: PostgresCluster, folder: Path
) -> None:
    async with own_cluster.database() as database:
        services = Services(folder, database, None)
        try:
            await _through_an_outage(own_cluster, services)
        finally:
            await services.close()


async def _through_an_outage(cluster: PostgresCluster, services: Services) -> None:
    cluster.stop()
    gateway = services.start("gateway", ready=False)
    api = Api(services.channel("gateway"), services.admin_token)
    listing = workflow_service_pb2.ListWorkflowsRequest()

    async def unavailable() -> None:
        try:
            refusal = await api.refused(api.workflows.ListWorkflows, listing)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(str(error)) from error
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert refusal.retry.retry_delay.ToMilliseconds() > 0

    async def available() -> None:
        try:
            await api.call(api.workflows.ListWorkflows, listing)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(str(error)) from error

    await eventually(unavailable)
    cluster.start()
    await eventually(available, within=20)
    cluster.stop()
    await eventually(unavailable)
    assert await components(api) == {"postgres": False, "scheduler": False, "gateway": True}
    cluster.start()
    await eventually(available, within=20)
    assert gateway.process.exit_code is None


async def test_it_ends_in_order_and_its_log_holds_no_secrets(services: Services) -> None:
    gateway = services.start("gateway", TASKFORGE_LOG_LEVEL="debug")
    api = Api(services.channel("gateway"), services.admin_token)
    await api.apply(WORKFLOW)
    request = secret_service_pb2.SetSecretRequest(name="secrets/GH_TOKEN", value="c4nary-value")
    await api.call(api.secrets.SetSecret, request)
    await api.refused(api.runs.StartRun, run_service_pb2.StartRunRequest(workflow="workflows/demo"))
    gateway.process.send(signal.SIGTERM)
    assert gateway.process.wait() == 0
    output = gateway.process.output()
    assert "service_stopped" in output
    for secret in ("c4nary-value", services.admin_token, services.internal_token, "http://localhost/"):
        assert secret not in output
