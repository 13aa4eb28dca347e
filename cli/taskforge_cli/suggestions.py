"""What the shell offers where a run or a workflow is named: those that there are. Silent and quick, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from taskforge_cli.options import GlobalOptions

if TYPE_CHECKING:
    from taskforge_cli.client import Client

_SECONDS = 1.0
_SHOWN = 20


def runs(incomplete: str) -> list[tuple[str, str]]:
    """The newest runs with their workflow and state, and what stands for some of them."""
    return [("@last", "the newest run"), ("@failed", "the newest that failed"), *_runs()]


def workflows(incomplete: str) -> list[tuple[str, str]]:
    """All workflows with their descriptions."""
    return list(_workflows())


def _runs() -> Iterator[tuple[str, str]]:
    from taskforge.v1.run_service_pb2 import ListRunsRequest, ListRunsResponse
    from taskforge_cli.ids import short
    from taskforge_cli.messages import last_part, state_of

    with suppress(Exception):
        request = ListRunsRequest(page_size=_SHOWN)
        answer = _client().call("RunService/ListRuns", request, ListRunsResponse, timeout=_SECONDS)
        for run in answer.runs:
            yield short(last_part(run.name)), f"{last_part(run.workflow)} {state_of(run)}"


def _workflows() -> Iterator[tuple[str, str]]:
    from taskforge.v1.workflow_service_pb2 import ListWorkflowsRequest, ListWorkflowsResponse
    from taskforge_cli.messages import last_part

    with suppress(Exception):
        request = ListWorkflowsRequest(page_size=500)
        answer = _client().call("WorkflowService/ListWorkflows", request, ListWorkflowsResponse, timeout=_SECONDS)
        for workflow in answer.workflows:
            yield last_part(workflow.name), workflow.description


def _client() -> Client:
    from taskforge_cli.client import Client
    from taskforge_cli.context import resolve

    return Client(resolve(GlobalOptions()))
