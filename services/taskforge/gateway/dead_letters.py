"""The DeadLetterService: steps that gave up, and what is decided about them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from taskforge.domain.errors import FailedPrecondition
from taskforge.domain.states import DeadLetterState
from taskforge.gateway.convert import step_error, timestamp
from taskforge.gateway.deadlines import Context, seconds_left
from taskforge.gateway.names import (
    IdSpace,
    dead_letter_name,
    field_invalid,
    parse_workflow,
    run_name,
    workflow_name,
)
from taskforge.gateway.operations import Operations
from taskforge.gateway.paging import Paging
from taskforge.gateway.runs import checked_comment
from taskforge.store.dead_letter_reads import DeadLetterFilter, DeadLetterReads, DeadLetterRow
from taskforge.store.run_reads import LAST_ID
from taskforge.v1 import dead_letter_service_pb2 as pb
from taskforge.v1.dead_letter_service_pb2_grpc import DeadLetterServiceServicer

_PAGES = Paging(method="ListDeadLetters", first=LAST_ID, parse=UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterParts:
    """What the servicer hands its work to."""

    reads: DeadLetterReads
    ids: IdSpace
    run_ids: IdSpace
    operations: Operations


class DeadLetterService(DeadLetterServiceServicer):
    """See proto/taskforge/v1/dead_letter_service.proto."""

    def __init__(self, parts: DeadLetterParts) -> None:
        self._parts = parts

    async def ListDeadLetters(  # noqa: N802
        self, request: pb.ListDeadLettersRequest, context: Context
    ) -> pb.ListDeadLettersResponse:
        """List dead letters, newest first."""
        wanted = DeadLetterFilter(
            state=_wanted_state(request.state),
            workflow=parse_workflow(request.workflow, field="workflow") if request.workflow else "",
            run_id=await self._parts.run_ids.resolve(request.run, field="run") if request.run else None,
        )
        page = _PAGES.open(request.page_size, request.page_token, wanted.state, wanted.workflow, str(wanted.run_id))
        rows = await self._parts.reads.page(wanted, before=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: row.dead_letter_id)
        return pb.ListDeadLettersResponse(dead_letters=[_message(row) for row in shown], next_page_token=token)

    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Context) -> pb.DeadLetter:  # noqa: N802
        """Read one dead letter."""
        return _message(await self._read(request.name))

    async def RedriveDeadLetter(  # noqa: N802
        self, request: pb.RedriveDeadLetterRequest, context: Context
    ) -> pb.DeadLetter:
        """Run the step again."""
        comment = checked_comment(request.comment)
        row = await self._open_letter(request.name)
        await self._parts.operations.redrive(row.dead_letter_id, comment, seconds=seconds_left(context))
        return _message(await self._read(dead_letter_name(row.dead_letter_id)))

    async def DiscardDeadLetter(  # noqa: N802
        self, request: pb.DiscardDeadLetterRequest, context: Context
    ) -> pb.DeadLetter:
        """Close the dead letter without running anything."""
        comment = checked_comment(request.comment)
        row = await self._open_letter(request.name)
        await self._parts.operations.discard(row.dead_letter_id, comment, seconds=seconds_left(context))
        return _message(await self._read(dead_letter_name(row.dead_letter_id)))

    async def _open_letter(self, name: str) -> DeadLetterRow:
        row = await self._read(name)
        if row.state != DeadLetterState.OPEN:
            raise FailedPrecondition(
                "DEAD_LETTER_CLOSED", f"the dead letter is {row.state} already", metadata={"state": row.state}
            )
        return row

    async def _read(self, name: str) -> DeadLetterRow:
        dead_letter_id = await self._parts.ids.resolve(name)
        row = await self._parts.reads.get(dead_letter_id)
        if row is None:
            raise self._parts.ids.missing(dead_letter_id)
        return row


def _wanted_state(state: int) -> DeadLetterState:
    if state == pb.DeadLetter.State.STATE_UNSPECIFIED:
        return DeadLetterState.OPEN
    if state not in pb.DeadLetter.State.values():
        raise field_invalid("state", f"is {state}, which is no state of a dead letter")
    return DeadLetterState(pb.DeadLetter.State.Name(state).removeprefix("STATE_"))


def _message(row: DeadLetterRow) -> pb.DeadLetter:
    return pb.DeadLetter(
        name=dead_letter_name(row.dead_letter_id),
        run=run_name(row.run_id),
        workflow=workflow_name(row.workflow),
        step=row.step_id,
        state=f"STATE_{row.state}",
        error=step_error(row.error),
        reason=row.reason,
        attempts=row.attempts,
        crashes=row.crashes,
        create_time=timestamp(row.created_at),
        close_time=timestamp(row.closed_at),
        closed_by=row.closed_by or "",
        comment=row.comment,
    )
