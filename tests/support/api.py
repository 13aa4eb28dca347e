"""The public API as a program uses it: native gRPC through the edge, with a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf import json_format, struct_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from taskforge.v1.dead_letter_service_pb2 import DeadLetter, ListDeadLettersRequest
from taskforge.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from taskforge.v1.run_pb2 import LogLine, Run, RunEvent, Step
from taskforge.v1.run_service_pb2 import (
    GetRunRequest,
    ListRunEventsRequest,
    ListRunLogsRequest,
    ListRunsRequest,
    StartRunRequest,
)
from taskforge.v1.run_service_pb2_grpc import RunServiceStub
from taskforge.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from taskforge.v1.secret_service_pb2 import SetSecretRequest
from taskforge.v1.secret_service_pb2_grpc import SecretServiceStub
from taskforge.v1.system_service_pb2_grpc import SystemServiceStub
from taskforge.v1.webhook_service_pb2 import ListWebhooksRequest
from taskforge.v1.webhook_service_pb2_grpc import WebhookServiceStub
from taskforge.v1.workflow_service_pb2 import AppliedWorkflow, ApplyWorkflowsRequest, WorkflowSource
from taskforge.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.support.waiting import eventually

FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
# A client of its own per object: without it all channels of a process share one connection.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * 1024 * 1024))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiError:
    """What a refused call said."""

    code: str  #: such as NOT_FOUND
    reason: str  #: ErrorInfo's, such as RUN_NOT_FOUND; empty without one
    message: str
    hint: str = ""
    violations: Mapping[str, str] = field(default_factory=dict, hash=False)  #: by field


class Api:
    """One connection to an edge. `token=None` sends none; `timeout` is in seconds and of one call."""

    def __init__(self, server: str, token: str | None, *, timeout: float = 15.0) -> None:
        self._timeout = timeout
        self.channel = grpc.aio.insecure_channel(urlsplit(server).netloc, options=_OPTIONS)
        self.metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self.workflows = WorkflowServiceStub(self.channel)
        self.runs = RunServiceStub(self.channel)
        self.schedules = ScheduleServiceStub(self.channel)
        self.webhooks = WebhookServiceStub(self.channel)
        self.secrets = SecretServiceStub(self.channel)
        self.letters = DeadLetterServiceStub(self.channel)
        self.system = SystemServiceStub(self.channel)

    async def close(self) -> None:
        """Close the connection."""
        await self.channel.close()

    async def call(self, method: Any, request: Any) -> Any:
        """Call a stub's method with the token."""
        return await method(request, metadata=self.metadata, timeout=self._timeout)

    async def refused(self, method: Any, request: Any) -> ApiError:
        """Call a method that must be refused."""
        try:
            answer = await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return error_of(error)
        raise AssertionError(f"it was not refused: {answer}")

    async def apply(self, *sources: str) -> list[AppliedWorkflow]:
        """Apply workflows in one call."""
        wanted = [WorkflowSource(filename=f"{n}.yaml", source=text) for n, text in enumerate(sources)]
        answer = await self.call(self.workflows.ApplyWorkflows, ApplyWorkflowsRequest(sources=wanted))
        return list(answer.results)

    async def set_secret(self, name: str, value: str) -> None:
        """Store a secret."""
        await self.call(self.secrets.SetSecret, SetSecretRequest(name=f"secrets/{name}", value=value))

    async def start(self, workflow: str, *, request_id: str = "", **inputs: Any) -> Run:
        """Start a run."""
        run: Run = await self.call(self.runs.StartRun, start_request(workflow, inputs, request_id=request_id))
        return run

    async def run(self, name: str) -> Run:
        """Read a run with its steps."""
        run: Run = await self.call(self.runs.GetRun, GetRunRequest(name=name))
        return run

    async def ended(self, name: str, state: str = "SUCCEEDED", *, within: float = 20.0) -> Run:
        """Wait until a run has ended, and see that it ended so."""

        async def assertion() -> Run:
            found = await self.run(name)
            assert run_state(found) in FINAL, f"the run is {run_state(found)}: {step_states(found)}"
            return found

        run: Run = await eventually(assertion, within=within)
        assert run_state(run) == state, f"the run is {run_state(run)}, not {state}: {run}"
        return run

    async def runs_of(self, workflow: str) -> list[Run]:
        """A workflow's runs, newest first."""
        request = ListRunsRequest(workflow=f"workflows/{workflow}", page_size=100)
        return list((await self.call(self.runs.ListRuns, request)).runs)

    async def events(self, run: str) -> list[RunEvent]:
        """A run's history."""
        request = ListRunEventsRequest(parent=run, page_size=500)
        return list((await self.call(self.runs.ListRunEvents, request)).events)

    async def logs(self, run: str) -> list[LogLine]:
        """A run's log."""
        request = ListRunLogsRequest(parent=run, page_size=500)
        return list((await self.call(self.runs.ListRunLogs, request)).lines)

    async def dead_letters(self, run: str) -> list[DeadLetter]:
        """A run's dead letters."""
        return list((await self.call(self.letters.ListDeadLetters, ListDeadLettersRequest(run=run))).dead_letters)

    async def hook_path(self, workflow: str) -> str:
        """The path of a workflow's only webhook."""
        request = ListWebhooksRequest(workflow=f"workflows/{workflow}")
        found = (await self.call(self.webhooks.ListWebhooks, request)).webhooks
        assert len(found) == 1, f"{workflow} has {len(found)} webhooks"
        return str(found[0].path)


def start_request(workflow: str, inputs: Mapping[str, Any], *, request_id: str = "") -> StartRunRequest:
    """What StartRun takes."""
    values = struct_pb2.Struct()
    values.update(dict(inputs))
    return StartRunRequest(workflow=f"workflows/{workflow}", inputs=values, request_id=request_id)


def run_state(run: Run) -> str:
    """A run's state without its prefix."""
    return Run.State.Name(run.state).removeprefix("STATE_")


def step_states(run: Run) -> dict[str, str]:
    """The states of a run's steps, by id."""
    return {step.id: Step.State.Name(step.state).removeprefix("STATE_") for step in run.steps}


def step_of(run: Run, step_id: str) -> Step:
    """One step of a run."""
    return next(step for step in run.steps if step.id == step_id)


def plain(value: Any) -> Any:
    """A Value or Struct as Python data."""
    return json_format.MessageToDict(value)


def error_of(error: grpc.aio.AioRpcError) -> ApiError:
    """What a failed call said."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    return ApiError(
        code=error.code().name,
        reason=info.reason,
        message=error.details() or "",
        hint=info.metadata.get("hint", ""),
        violations={violation.field: violation.description for violation in bad.field_violations},
    )
