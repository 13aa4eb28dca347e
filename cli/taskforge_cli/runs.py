"""Runs as commands name them: `@last`, `@failed`, an id, or the beginning of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from taskforge.v1.run_pb2 import Run
from taskforge.v1.run_service_pb2 import GetRunRequest, ListRunsRequest, ListRunsResponse
from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import CliError
from taskforge_cli.messages import state_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from taskforge_cli.client import Client

FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
_EXIT_CODES = {
    "SUCCEEDED": ExitCode.OK,
    "FAILED": ExitCode.RUN_FAILED,
    "CANCELLED": ExitCode.RUN_CANCELLED,
}


def run_name(client: Client, reference: str) -> str:
    """The resource name of a run. A prefix stays one: the server knows whether it is unique.

    Raises:
        CliError: NO_RUNS.
    """
    if not reference.startswith("@"):
        return f"runs/{reference.removeprefix('runs/').lower()}"
    states = {"@last": [], "@failed": [Run.State.STATE_FAILED]}.get(reference)
    if states is None:
        raise CliError("USAGE", f"{reference!r} is no run", hints=["there are @last and @failed"])
    answer = client.call("RunService/ListRuns", ListRunsRequest(page_size=1, states=states), ListRunsResponse)
    if not answer.runs:
        kind = "failed run" if states else "run"
        raise CliError(
            "NO_RUNS", f"{reference}: there is no {kind}", hints=["start one with: taskforge run start NAME"]
        )
    return answer.runs[0].name


def get_run(client: Client, reference: str) -> Run:
    """Read a run with its steps."""
    return client.call("RunService/GetRun", GetRunRequest(name=run_name(client, reference)), Run)


def is_final(run: Run) -> bool:
    """Whether it has ended."""
    return state_of(run) in FINAL_STATES


def exit_code_of(run: Run) -> ExitCode:
    """How a command that waited for the run ends."""
    return _EXIT_CODES.get(state_of(run), ExitCode.OK)


def moment(stamp: Timestamp) -> datetime:
    """A timestamp on the user's clock."""
    return stamp.ToDatetime().replace(tzinfo=UTC).astimezone()


def seconds_between(start: Timestamp, end: Timestamp | None, now: float) -> float:
    """How long something took, or takes until now (seconds since the epoch)."""
    began = start.seconds + start.nanos / 1e9
    return (end.seconds + end.nanos / 1e9 if end is not None else now) - began
