"""Taking stretches: the fence, the re-check of every transition, and the next step's lease in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter

from taskforge.domain.errors import TaskforgeError, Unavailable
from taskforge.domain.run import Carried, Claimed, Finished, Refused
from taskforge.domain.states import StepState
from taskforge.failpoints import Point, reach
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.randomness import fraction
from taskforge.scheduler.convert import Unstorable, outcome_from, stretch_hash, uuid_from
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.grants import GrantPlan, build_grants, grant_known, needs_reading
from taskforge.scheduler.memory import Memory
from taskforge.scheduler.run_turn import (
    Note,
    RunTurn,
    StepRef,
    load_turns,
    queued_refs,
    save_turns,
    without_waiting_long,
    write_known,
)
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database
from taskforge.store.runs import Patience

Result = pb.StretchResult | TaskforgeError | None

_COMPLETIONS = Counter("taskforge_completions", "Stretches by what became of them.", ["result"])
_COUNTERS = {
    kind: _COMPLETIONS.labels(name.removeprefix("KIND_").lower()) for name, kind in pb.StretchResult.Kind.items()
}

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Report:
    """One stretch from one executor."""

    executor_id: UUID
    stretch: pb.Stretch
    run_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        """Read the run's id once."""
        self.run_id = uuid_from(self.stretch.lease.run_id)


@dataclass(slots=True)
class _Verdict:
    kind: pb.StretchResult.Kind
    next: GrantPlan | None = None
    error: TaskforgeError | None = None


#: The verdict on what cannot be judged now.
_HELD = _Verdict(
    pb.StretchResult.KIND_UNSPECIFIED, error=Unavailable("STORE_UNAVAILABLE", "the run is held", retry_after=1)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What became of a batch."""

    results: Sequence[Result]  #: one a report
    queued: Sequence[StepRef]  #: to be hinted
    delays: list[float]  #: in seconds, of the steps that will be retried


class Completer:
    """Writes stretches in batches."""

    def __init__(self, database: Database, definitions: Definitions, memory: Memory, *, lease: timedelta) -> None:
        self._database = database
        self._definitions = definitions
        self._memory = memory
        self._lease = lease

    async def complete_known(self, reports: Sequence[Report]) -> Completed:
        """Write what remembered runs accept, in one statement and without reading. None: `complete` must judge it."""
        turns = self._memory.take({report.run_id for report in reports})
        verdicts = [_judge_known(report, turns) for report in reports]
        written = await write_known(self._database, turns.values(), lease=self._lease)
        results = [
            _result(verdict, grant_known(verdict.next, self._lease) if verdict.next else None)
            if verdict is not None and report.run_id in written
            else None
            for report, verdict in zip(reports, verdicts, strict=True)
        ]
        return await self._completed(results, [turns[run_id] for run_id in written], written)

    async def complete(self, reports: Sequence[Report]) -> Completed:
        """Write what holds its lease. Nobody hears anything definite about a run that another scheduler holds."""
        return await without_waiting_long(lambda patience: self._complete(reports, patience))

    async def _complete(self, reports: Sequence[Report], patience: Patience) -> Completed:
        async with self._database.transaction(store.FILE) as connection:
            run_ids = {report.run_id for report in reports}
            turns = await load_turns(connection, self._definitions, run_ids, patience=patience)
            # Before anything is judged: that a run is held must not be taken for its not being there.
            held = set() if patience is Patience.SHORT else await _existing(connection, run_ids - turns.keys())
            verdicts = [
                _HELD if report.run_id in held else _judge(report, turns.get(report.run_id)) for report in reports
            ]
            written = await save_turns(connection, turns.values(), lease=self._lease)
            plans = [verdict.next for verdict in verdicts if verdict.next is not None]
            grants = iter(await build_grants(connection, plans, self._lease))
        results = [_result(verdict, next(grants) if verdict.next else None) for verdict in verdicts]
        return await self._completed(results, turns.values(), written)

    async def _completed(
        self, results: Sequence[Result], turns: Collection[RunTurn], written: Mapping[UUID, datetime]
    ) -> Completed:
        await reach(Point.COMPLETION_COMMITTED)
        completed = Completed(results=results, queued=queued_refs(turns), delays=_retry_delays(turns))
        self._memory.keep(turns, written)
        return completed


async def _existing(connection: Connection, run_ids: Collection[UUID]) -> set[UUID]:
    return {row["run_id"] for row in await connection.rows("find_runs", **store.of_runs(run_ids))} if run_ids else set()


def _judge_known(report: Report, turns: dict[UUID, RunTurn]) -> _Verdict | None:
    """Accept what a remembered run accepts. Anything else is not for memory to say."""
    stretch = report.stretch
    lease = stretch.lease
    turn = turns.get(report.run_id)
    row = turn.step_row(lease.step) if turn is not None else None
    if turn is None or row is None or row.view.state is not StepState.RUNNING:
        return None
    if row.view.token != lease.token or row.executor_id != report.executor_id:
        return None
    if stretch.outcome.kind == pb.StepOutcome.KIND_FAILED:
        return None  # whether it is tried again depends on the database's clock
    verdict = _accept(report, turn, stretch_hash(stretch))
    if verdict.next is not None and needs_reading(verdict.next):
        del turns[turn.row.run_id]  # what is left here gets written, and this grant cannot be made without reading
    return verdict if verdict.kind == pb.StretchResult.KIND_ACCEPTED else None


def _judge(report: Report, turn: RunTurn | None) -> _Verdict:
    stretch = report.stretch
    if turn is None or not 0 <= stretch.lease.step < len(turn.workflow.steps):
        return _Verdict(pb.StretchResult.KIND_STALE_LEASE)
    row = turn.step_row(stretch.lease.step)
    if row is None or row.view.token != stretch.lease.token:
        return _Verdict(pb.StretchResult.KIND_STALE_LEASE)
    digest = stretch_hash(stretch)
    if row.view.state is not StepState.RUNNING:
        if row.result_hash != digest:
            return _Verdict(pb.StretchResult.KIND_STALE_LEASE)
        return _Verdict(pb.StretchResult.KIND_ALREADY_ACCEPTED, _granted_before(report, turn))
    if not row.lease_alive or row.executor_id != report.executor_id:
        return _Verdict(pb.StretchResult.KIND_STALE_LEASE)
    return _accept(report, turn, digest)


def _accept(report: Report, turn: RunTurn, digest: bytes) -> _Verdict:
    stretch = report.stretch
    try:
        outcomes = [outcome_from(message) for message in (stretch.outcome, *stretch.carried)]
    except Unstorable as error:
        return _Verdict(pb.StretchResult.KIND_REJECTED, error=error)
    note = Note(executor_id=report.executor_id, result_hash=digest, needs_lease=True)
    refused = turn.take(Finished(step=stretch.lease.step, outcome=outcomes[0], jitter=fraction()), note)
    if refused is not None:
        return _Verdict(pb.StretchResult.KIND_STALE_LEASE)
    for message, outcome in zip(stretch.carried, outcomes[1:], strict=True):
        note = Note(executor_id=report.executor_id, elapsed=timedelta(microseconds=message.elapsed_us))
        refused = _carry(turn, Carried(step=message.step, outcome=outcome), note)
        if refused is not None:
            # The run took another turn while the executor went ahead. Nothing of that step has been written, and it had
            # no outside effect: it runs again if it is still wanted.
            log.info("carried_step_dropped", run=str(turn.row.run_id), step=message.step, reason=refused.reason)
            break
    return _Verdict(pb.StretchResult.KIND_ACCEPTED, _grant_next(report, turn))


def _carry(turn: RunTurn, event: Carried, note: Note) -> Refused | None:
    if not 0 <= event.step < len(turn.workflow.steps):
        return Refused(reason="there is no such step")
    row = turn.step_row(event.step)
    if row is not None and row.view.state is StepState.QUEUED:
        return Refused(reason="it was QUEUED for everybody before this stretch")
    return turn.take(event, note)


def _grant_next(report: Report, turn: RunTurn) -> GrantPlan | None:
    """Lease the first step that this stretch made ready to the same executor; the others are hinted to everybody."""
    ready = turn.newly_queued() if report.stretch.accept_next else []
    for step in ready:
        if turn.take(Claimed(step=step), Note(executor_id=report.executor_id)) is None:
            return GrantPlan(turn=turn, step=step, known=_known(report.stretch))
    return None


def _granted_before(report: Report, turn: RunTurn) -> GrantPlan | None:
    """The lease that went out with the answer that was lost, if it is still good."""
    for step, row in sorted(turn.rows.items()):
        held = row.view.state is StepState.RUNNING and row.lease_alive and row.executor_id == report.executor_id
        if held and turn.view(step).state is StepState.RUNNING:
            return GrantPlan(turn=turn, step=step, known=_known(report.stretch))
    return None


def _known(stretch: pb.Stretch) -> set[int]:
    return {*stretch.known, stretch.lease.step, *(carried.step for carried in stretch.carried)}


def _retry_delays(turns: Iterable[RunTurn]) -> list[float]:
    return [
        step.delay
        for turn in turns
        for step in turn.write.steps.values()
        if step.after.state is StepState.RETRYING and step.delay is not None
    ]


def _result(verdict: _Verdict, grant: pb.Grant | None) -> pb.StretchResult | TaskforgeError:
    if isinstance(verdict.error, Unavailable):
        return verdict.error
    _COUNTERS[verdict.kind].inc()
    error = None
    if verdict.error is not None:
        error = pb.ItemError(reason=verdict.error.reason, message=verdict.error.message)
    return pb.StretchResult(kind=verdict.kind, next=grant, error=error)
