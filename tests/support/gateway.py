"""A running gateway and stubs for every service of the public API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from taskforge.gateway.config import GatewayConfig
from taskforge.gateway.main import Gateway
from taskforge.ingest.config import IngestConfig
from taskforge.ingest.main import Ingest
from taskforge.runtime.config import ProcessConfig
from taskforge.runtime.process import Service
from taskforge.runtime.server import MAX_MESSAGE_BYTES
from taskforge.scheduler.config import SchedulerConfig
from taskforge.scheduler.main import Scheduler
from taskforge.security import tokens
from taskforge.security.keyring import KeyRing
from taskforge.v1 import run_pb2, run_service_pb2, workflow_service_pb2
from taskforge.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from taskforge.v1.hook_service_pb2_grpc import HookServiceStub
from taskforge.v1.run_service_pb2_grpc import RunServiceStub
from taskforge.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from taskforge.v1.secret_service_pb2_grpc import SecretServiceStub
from taskforge.v1.system_service_pb2_grpc import SystemServiceStub
from taskforge.v1.webhook_service_pb2_grpc import WebhookServiceStub
from taskforge.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.postgres import Database
from tests.support.waiting import eventually

# Answers may be larger than what a client takes unless it is told to.
_OPTIONS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]


class Refusal:
    """How a call was refused: the status with its details unpacked."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        status = rpc_status.from_call(error)
        self.code = error.code()
        self.message = error.details() or ""
        self.info = error_details_pb2.ErrorInfo()
        self.bad = error_details_pb2.BadRequest()
        self.retry = error_details_pb2.RetryInfo()
        for detail in status.details if status else ():
            for message in (self.info, self.bad, self.retry):
                detail.Unpack(message)

    @property
    def reason(self) -> str:
        """`ErrorInfo.reason`."""
        return str(self.info.reason)

    @property
    def metadata(self) -> Mapping[str, str]:
        """`ErrorInfo.metadata`."""
        return dict(self.info.metadata)

    @property
    def violations(self) -> dict[str, str]:
        """Descriptions of `BadRequest` by field."""
        return {violation.field: violation.description for violation in self.bad.field_violations}


class Api:
    """The public API as a caller with one token sees it."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.workflows = WorkflowServiceStub(channel)
        self.runs = RunServiceStub(channel)
        self.dead_letters = DeadLetterServiceStub(channel)
        self.schedules = ScheduleServiceStub(channel)
        self.webhooks = WebhookServiceStub(channel)
        self.secrets = SecretServiceStub(channel)
        self.system = SystemServiceStub(channel)

    async def call(self, method: Any, request: Any, *, timeout: float = 20.0) -> Any:
        """Call a stub's method with the token."""
        return await method(request, metadata=self.metadata, timeout=timeout)

    async def refused(self, method: Any, request: Any, *, timeout: float = 20.0) -> Refusal:
        """Call a method that must be refused."""
        try:
            answer = await self.call(method, request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return Refusal(error)
        raise AssertionError(f"it was not refused: {answer}")

    async def apply(self, *sources: str, validate_only: bool = False) -> workflow_service_pb2.ApplyWorkflowsResponse:
        """Apply definitions from files named `0.yaml`, `1.yaml`, …"""
        request = apply_request(*sources, validate_only=validate_only)
        answer: workflow_service_pb2.ApplyWorkflowsResponse = await self.call(self.workflows.ApplyWorkflows, request)
        return answer

    async def start(self, workflow: str, inputs: Mapping[str, Any] | None = None, **fields: Any) -> run_pb2.Run:
        """Start a run."""
        request = run_service_pb2.StartRunRequest(workflow=f"workflows/{workflow}", **fields)
        request.inputs.update(dict(inputs or {}))
        run: run_pb2.Run = await self.call(self.runs.StartRun, request)
        return run

    async def run(self, name: str) -> run_pb2.Run:
        """Read a run."""
        run: run_pb2.Run = await self.call(self.runs.GetRun, run_service_pb2.GetRunRequest(name=name))
        return run


def apply_request(*sources: str, validate_only: bool = False) -> workflow_service_pb2.ApplyWorkflowsRequest:
    """A request that applies files named `0.yaml`, `1.yaml`, …"""
    files = [
        workflow_service_pb2.WorkflowSource(filename=f"{index}.yaml", source=source)
        for index, source in enumerate(sources)
    ]
    return workflow_service_pb2.ApplyWorkflowsRequest(sources=files, validate_only=validate_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A gateway, and scheduler and ingest when they are asked for, in this process: real servers on Unix sockets."""

    folder: Path
    database: Database
    admin_token: str
    internal_token: str
    keyring: KeyRing

    @classmethod
    def over(cls, folder: Path, database: Database) -> Platform:
        """One with fresh tokens and keys."""
        return cls(
            folder=folder,
            database=database,
            admin_token=tokens.generate(),
            internal_token="i" * 32,
            keyring=KeyRing.generate(),
        )

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Api]:
        """A gateway that is ready."""
        config = GatewayConfig(
            process=self._process("gateway"),
            database_url=self.database.url_for("gateway"),
            allow_unsafe_database=True,
            scheduler=self._address("scheduler"),
            keyring=self.keyring,
            admin_digest=tokens.digest(self.admin_token),
        )
        async with self._serving(Gateway(config, self.keyring), "gateway") as channel:
            yield Api(channel, self.admin_token)

    @asynccontextmanager
    async def scheduler(self) -> AsyncIterator[None]:
        """A scheduler that is ready, without Redis."""
        config = SchedulerConfig(
            process=self._process("scheduler"),
            database_url=self.database.url_for("scheduler"),
            allow_unsafe_database=True,
            redis_url="none",
            lease=timedelta(seconds=30),
            sweep_seconds=1.0,
            max_crashes=3,
            max_queued=1000,
        )
        async with self._serving(Scheduler(config), "scheduler"):
            yield

    @asynccontextmanager
    async def ingest(self) -> AsyncIterator[HookServiceStub]:
        """An ingest that is ready."""
        config = IngestConfig(
            process=self._process("ingest"),
            database_url=self.database.url_for("ingest"),
            allow_unsafe_database=True,
            scheduler=self._address("scheduler"),
            keyring=self.keyring,
        )
        async with self._serving(Ingest(config), "ingest") as channel:
            yield HookServiceStub(channel)

    @asynccontextmanager
    async def _serving(self, service: Service, name: str) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(self._address(name), options=_OPTIONS) as channel:
            await service.start()
            try:
                await _ready(channel)
                yield channel
            finally:
                await service.stop()

    def _process(self, name: str) -> ProcessConfig:
        return ProcessConfig(
            listen=self._address(name),
            metrics_listen="",
            log_format="json",
            log_level="info",
            internal_token=self.internal_token,
            drain_seconds=1.0,
        )

    def _address(self, name: str) -> str:
        return f"unix:{self.folder}/{name}.sock"


async def _ready(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    async def serving() -> None:
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(str(error)) from error
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    await eventually(serving)
