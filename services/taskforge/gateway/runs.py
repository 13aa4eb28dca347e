"""The RunService: start, read, follow, stop, try again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from taskforge.domain.errors import FailedPrecondition
from taskforge.domain.states import RUN_FINAL, RunState
from taskforge.failpoints import Point, reach
from taskforge.gateway.convert import moment_from
from taskforge.gateway.deadlines import Context, seconds_left
from taskforge.gateway.names import IdSpace, field_invalid, parse_workflow
from taskforge.gateway.new_runs import accepted_run, check_request, new_run
from taskforge.gateway.operations import Operations
from taskforge.gateway.paging import LINES, Paging
from taskforge.gateway.revisions import Revisions
from taskforge.gateway.run_messages import StepIds, listed_run, log_line, run_event, whole_run
from taskforge.gateway.watching import Changes
from taskforge.runtime.guard import caller
from taskforge.runtime.run_starts import RunStarts
from taskforge.store.run_reads import LAST_ID, RunFilter, RunHead, RunReads
from taskforge.v1 import run_pb2
from taskforge.v1 import run_service_pb2 as pb
from taskforge.v1.run_service_pb2_grpc import RunServiceServicer

_RUNS = Paging(method="ListRuns", first=LAST_ID, parse=UUID)
_EVENTS = Paging(method="ListRunEvents", first=0, parse=int, sizes=LINES)
_LOGS = Paging(method="ListRunLogs", first=0, parse=int, sizes=LINES)
_MAX_COMMENT_CHARS = 1000
#: Of JSON. Converting more takes long enough to be felt by other calls, so a thread does it.
_MANY_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What the servicer hands its work to."""

    reads: RunReads
    ids: IdSpace
    revisions: Revisions
    starter: RunStarts
    changes: Changes
    operations: Operations


class RunService(RunServiceServicer):
    """See proto/taskforge/v1/run_service.proto."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> run_pb2.Run:  # noqa: N802
        """Start a run of the current revision."""
        check_request(request)
        revision, workflow = await self._parts.revisions.current(parse_workflow(request.workflow, field="workflow"))
        start = new_run(request, revision, workflow, actor=caller.get())
        await reach(Point.REQUEST_PARSED)
        result = await self._parts.starter.start(start, seconds=seconds_left(context))
        await reach(Point.BEFORE_REPLY)
        if result.run_id == start.run_id:
            return accepted_run(start, revision, workflow, now=datetime.now(UTC))
        return await self._read(UUID(bytes=result.run_id), attempts=True)

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> run_pb2.Run:  # noqa: N802
        """Read a run with its steps and attempts."""
        return await self._read(await self._parts.ids.resolve(request.name), attempts=True)

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:  # noqa: N802
        """List runs, newest first."""
        wanted = _run_filter(request)
        page = _RUNS.open(
            request.page_size, request.page_token, wanted.workflow, sorted(wanted.states), str(wanted.since)
        )
        rows = await self._parts.reads.page(wanted, before=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: row.run_id)
        return pb.ListRunsResponse(runs=[listed_run(row) for row in shown], next_page_token=token)

    async def WatchRun(  # noqa: N802
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        """Send the run now and after each change, until it has ended."""
        run_id = await self._parts.ids.resolve(request.name)
        while True:
            run = await self._read(run_id, attempts=False)
            yield pb.WatchRunResponse(run=run)
            if _state_of(run) in RUN_FINAL:
                return
            await self._parts.changes.wait(run_id, run.sequence)

    async def ListRunEvents(  # noqa: N802
        self, request: pb.ListRunEventsRequest, context: Context
    ) -> pb.ListRunEventsResponse:
        """List a run's events, oldest first."""
        head, ids = await self._head(request.parent)
        page = _EVENTS.open(request.page_size, request.page_token, head.run_id)
        rows = await self._parts.reads.events(head.run_id, after=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: row.seq)
        return pb.ListRunEventsResponse(events=[run_event(row, ids) for row in shown], next_page_token=token)

    async def ListRunLogs(  # noqa: N802
        self, request: pb.ListRunLogsRequest, context: Context
    ) -> pb.ListRunLogsResponse:
        """List the lines that a run logged, oldest first."""
        head, ids = await self._head(request.parent)
        page = _LOGS.open(request.page_size, request.page_token, head.run_id, request.step, request.after_sequence)
        step = _step_index(request.step, ids)
        after = max(page.after, request.after_sequence)
        rows = await self._parts.reads.logs(head.run_id, step=step, after=after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: row.log_id)
        return pb.ListRunLogsResponse(lines=[log_line(row, ids) for row in shown], next_page_token=token)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> run_pb2.Run:  # noqa: N802
        """Ask a run to stop."""
        comment = checked_comment(request.comment)
        head, _ = await self._head(request.name, field="name")
        if head.state in RUN_FINAL:
            raise FailedPrecondition("RUN_FINISHED", f"the run is {head.state} already", metadata={"state": head.state})
        await reach(Point.REQUEST_PARSED)
        await self._parts.operations.cancel_run(head.run_id, comment, seconds=seconds_left(context))
        await reach(Point.BEFORE_REPLY)
        return await self._read(head.run_id, attempts=True)

    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> run_pb2.Run:  # noqa: N802
        """Run the failed and cancelled steps again."""
        head, _ = await self._head(request.name, field="name")
        if head.state not in (RunState.FAILED, RunState.CANCELLED):
            raise FailedPrecondition(
                "RUN_NOT_RETRYABLE",
                f"the run is {head.state}; only FAILED and CANCELLED runs can be run again",
                hint="start a new run" if head.state in RUN_FINAL else "cancel it first",
                metadata={"state": head.state},
            )
        await self._parts.operations.retry_run(head.run_id, seconds=seconds_left(context))
        return await self._read(head.run_id, attempts=True)

    async def _read(self, run_id: UUID, *, attempts: bool) -> run_pb2.Run:
        record = await self._parts.reads.get(run_id, attempts=attempts)
        if record is None:
            raise self._parts.ids.missing(run_id)
        revision = await self._parts.revisions.get(record.run.revision_id)
        workflow = revision.workflow if revision else None
        if record.json_chars > _MANY_CHARS:
            return await asyncio.to_thread(whole_run, record, workflow)
        return whole_run(record, workflow)

    async def _head(self, name: str, *, field: str = "parent") -> tuple[RunHead, StepIds]:
        run_id = await self._parts.ids.resolve(name, field=field)
        head = await self._parts.reads.head(run_id)
        if head is None:
            raise self._parts.ids.missing(run_id)
        revision = await self._parts.revisions.get(head.revision_id)
        return head, StepIds.of(revision.workflow if revision else None)


def checked_comment(comment: str) -> str:
    """A comment for the history.

    Raises:
        InvalidArgument: FIELD_INVALID, if it is too long or holds a NUL character.
    """
    if len(comment) > _MAX_COMMENT_CHARS or "\0" in comment:
        raise field_invalid("comment", f"has more than {_MAX_COMMENT_CHARS} characters, or a NUL character")
    return comment


def _state_of(run: run_pb2.Run) -> str:
    return run_pb2.Run.State.Name(run.state).removeprefix("STATE_")


def _run_filter(request: pb.ListRunsRequest) -> RunFilter:
    return RunFilter(
        workflow=parse_workflow(request.workflow, field="workflow") if request.workflow else "",
        states=frozenset(_wanted_state(state) for state in request.states),
        since=moment_from(request.since, field="since") if request.HasField("since") else None,
    )


def _wanted_state(state: int) -> RunState:
    known = run_pb2.Run.State.values()
    if state not in known or state == run_pb2.Run.State.STATE_UNSPECIFIED:
        raise field_invalid("states", f"hold {state}, which is no state of a run")
    return RunState(run_pb2.Run.State.Name(state).removeprefix("STATE_"))


def _step_index(step: str, ids: StepIds) -> int | None:
    if not step:
        return None
    index = ids.index(step)
    if index is None:
        raise field_invalid("step", f"is {step[:80]!r}, which the run's workflow does not have")
    return index
