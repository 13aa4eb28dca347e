"""A running gateway and stubs for every service of the public API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from taskforge.v1 import run_pb2, run_service_pb2, workflow_service_pb2
from taskforge.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from taskforge.v1.run_service_pb2_grpc import RunServiceStub
from taskforge.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from taskforge.v1.secret_service_pb2_grpc import SecretServiceStub
from taskforge.v1.system_service_pb2_grpc import SystemServiceStub
from taskforge.v1.webhook_service_pb2_grpc import WebhookServiceStub
from taskforge.v1.workflow_service_pb2_grpc import WorkflowServiceStub


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
        return await self.call(self.workflows.ApplyWorkflows, apply_request(*sources, validate_only=validate_only))

    async def start(self, workflow: str, inputs: Mapping[str, Any] | None = None, **fields: Any) -> run_pb2.Run:
        """Start a run."""
        request = run_service_pb2.StartRunRequest(workflow=f"workflows/{workflow}", **fields)
        request.inputs.update(dict(inputs or {}))
        return await self.call(self.runs.StartRun, request)

    async def run(self, name: str) -> run_pb2.Run:
        """Read a run."""
        return await self.call(self.runs.GetRun, run_service_pb2.GetRunRequest(name=name))


def apply_request(*sources: str, validate_only: bool = False) -> workflow_service_pb2.ApplyWorkflowsRequest:
    """A request that applies files named `0.yaml`, `1.yaml`, …"""
    files = [
        workflow_service_pb2.WorkflowSource(filename=f"{index}.yaml", source=source)
        for index, source in enumerate(sources)
    ]
    return workflow_service_pb2.ApplyWorkflowsRequest(sources=files, validate_only=validate_only)
