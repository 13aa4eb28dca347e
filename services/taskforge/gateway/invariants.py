"""Checking the invariants, page by page: what SystemService.CheckInvariants does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from taskforge.domain.workflow import Workflow
from taskforge.gateway.convert import moment_from
from taskforge.gateway.names import parse_workflow, run_name
from taskforge.gateway.paging import PageSizes, Paging
from taskforge.gateway.revisions import Revisions
from taskforge.invariants.check import check
from taskforge.invariants.rows import History, Violation, workflow_of
from taskforge.store.invariant_reads import CheckFilter, InvariantReads, TickPlace
from taskforge.store.run_reads import LAST_ID
from taskforge.v1 import system_service_pb2 as pb

_FIRST_TICK = TickPlace(trigger_id=UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far the check has come: to runs older than `before`; after the last of them, to a place in the ticks."""

    before: UUID | None = None
    ticks: TickPlace = _FIRST_TICK

    def __str__(self) -> str:
        if self.before is not None:
            return f"run {self.before}"
        return f"tick {self.ticks.trigger_id} {self.ticks.after.isoformat() if self.ticks.after else ''}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Place:
        """The inverse of `str`; raises ValueError."""
        kind, _, rest = text.partition(" ")
        if kind == "run":
            return cls(before=UUID(rest))
        trigger_id, _, after = rest.partition(" ")
        found = datetime.fromisoformat(after) if after else None
        if kind != "tick" or (found is not None and found.tzinfo is None):
            raise ValueError
        return cls(ticks=TickPlace(trigger_id=UUID(trigger_id), after=found))


_PAGES = Paging(
    method="CheckInvariants",
    first=Place(before=LAST_ID),
    parse=Place.parse,
    sizes=PageSizes(default=100, maximum=500),
)


class InvariantChecks:
    """Reads a page, adds the definitions that its runs are pinned to, and applies the rules."""

    def __init__(self, reads: InvariantReads, revisions: Revisions) -> None:
        self._reads = reads
        self._revisions = revisions

    async def page(self, request: pb.CheckInvariantsRequest) -> pb.CheckInvariantsResponse:
        """Check the page that a request asks for."""
        wanted = CheckFilter(
            workflow=parse_workflow(request.workflow, field="workflow") if request.workflow else "",
            since=moment_from(request.since, field="since") if request.HasField("since") else None,
        )
        page = _PAGES.open(request.page_size, request.page_token, wanted.workflow, str(wanted.since))
        if page.after.before is not None:
            answer, following = await self._runs(wanted, page.after.before, page.size)
        else:
            answer, following = await self._ticks(wanted, page.after.ticks)
        if following is not None:
            answer.next_page_token = page.token(following)
        return answer

    async def _runs(
        self, wanted: CheckFilter, before: UUID, size: int
    ) -> tuple[pb.CheckInvariantsResponse, Place | None]:
        found = await self._reads.runs(wanted, before=before, limit=size)
        history = replace(found.history, workflows=await self._workflows(found.history))
        answer = await _checked(history)
        answer.runs, answer.steps = len(history.runs), len(history.steps)
        return answer, Place(before=found.before)

    async def _ticks(self, wanted: CheckFilter, place: TickPlace) -> tuple[pb.CheckInvariantsResponse, Place | None]:
        found = await self._reads.ticks(wanted, place)
        answer = await _checked(found.history)
        answer.schedules, answer.ticks = int(found.finished), len(found.history.ticks)
        return answer, Place(ticks=found.place) if found.place is not None else None

    async def _workflows(self, history: History) -> dict[UUID, Workflow]:
        """The definitions of the runs. What this version cannot compile is left out: it cannot be judged by."""
        wanted = {run.revision_id for run in history.runs if run.revision_id is not None}
        found = {revision_id: await self._revisions.get(revision_id) for revision_id in wanted}
        return {
            revision_id: revision.workflow
            for revision_id, revision in found.items()
            if revision is not None and revision.workflow is not None
        }


async def _checked(history: History) -> pb.CheckInvariantsResponse:
    # A page takes a while to think about; other calls go on meanwhile.
    violations = await asyncio.to_thread(check, history)
    return pb.CheckInvariantsResponse(violations=_messages(history, violations))


def _messages(history: History, violations: Sequence[Violation]) -> Iterable[pb.InvariantViolation]:
    runs = {run.run_id: run for run in history.runs}
    for violation in violations:
        run = runs.get(violation.run_id) if violation.run_id is not None else None
        workflow = workflow_of(history, run) if run is not None else None
        yield pb.InvariantViolation(
            invariant=violation.invariant,
            run=run_name(violation.run_id) if violation.run_id is not None else "",
            step=_step_name(workflow, violation.step),
            message=violation.message,
        )


def _step_name(workflow: Workflow | None, step: int | None) -> str:
    if step is None:
        return ""
    known = workflow is not None and 0 <= step < len(workflow.steps)
    return workflow.steps[step].id if workflow is not None and known else f"#{step}"
