"""One run inside one transaction: events go in, `domain.advance` decides, the changes pile up until they are written.

Every change of a run, whatever asked for it, goes through here: lock the runs, read their steps, apply events, write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

from taskforge.domain.advance import advance
from taskforge.domain.outcome import ErrorKind, StepError
from taskforge.domain.run import (
    AttemptEnded,
    DeadLettered,
    Event,
    Refused,
    RunChanged,
    Snapshot,
    StepChanged,
    StepView,
)
from taskforge.domain.states import RunState, StepState
from taskforge.domain.workflow import Workflow
from taskforge.runtime.ids import new_id
from taskforge.scheduler.definitions import Definitions
from taskforge.store import runs as store
from taskforge.store.pool import Connection, Database, Undone
from taskforge.store.run_writes import (
    AttemptWrite,
    Creation,
    DeadLetterWrite,
    RunWrite,
    StepWrite,
    WriteConflict,
    write_known_runs,
    write_runs,
)
from taskforge.store.runs import Patience, RunRow, StepRow

StepRef = tuple[UUID, int]
Result = TypeVar("Result")


class Note(NamedTuple):
    """What the core does not need to know about an event, but the row keeps."""

    executor_id: UUID | None = None
    result_hash: bytes | None = None
    elapsed: timedelta = timedelta()  #: how long a carried step took
    needs_lease: bool = False  #: the write must find the lease still good


NO_NOTE = Note()


class RunInputs(NamedTuple):
    """What an executor that takes up a run is told of it, as JSON text."""

    inputs: str
    trigger: str
    created_at: datetime

    @property
    def characters(self) -> int:
        """Their size."""
        return len(self.inputs) + len(self.trigger)


class RunTurn:
    """A run as it was read, or a new one, and what this transaction changes about it."""

    def __init__(self, row: RunRow, workflow: Workflow, steps: dict[int, StepRow]) -> None:
        self.row = row
        self.workflow = workflow
        self.rows = steps
        self.snapshot = Snapshot(
            workflow=workflow,
            state=row.state,
            steps={index: step.view for index, step in steps.items()},
            stop_error=row.error,
        )
        self.inputs: RunInputs | None = None  #: None: not known here
        self.write = _nothing(row)

    @classmethod
    def new(cls, row: RunRow, workflow: Workflow, creation: Creation) -> RunTurn:
        """A run that is being inserted."""
        turn = cls(row, workflow, {})
        turn.write.creation = creation
        turn.write.run_causes.append(("", RunState.QUEUED, "created"))
        return turn

    def committed(self, at: datetime) -> None:
        """Go on from what was written `at` this time: the next transaction changes that."""
        write, creation = self.write, self.write.creation
        for step in write.steps.values():
            self.rows[step.step] = _row_after(step, self.rows.get(step.step), at)
        self.row = self.row._replace(state=write.state, seq=write.seq, error=write.error)
        if creation is not None:
            self.inputs = RunInputs(inputs=creation.inputs, trigger=creation.trigger, created_at=at)
        self.write = _nothing(self.row)

    @property
    def queued(self) -> list[StepRef]:
        """Steps that this transaction leaves QUEUED: to be hinted after the commit."""
        return [
            (self.row.run_id, step.step) for step in self.write.steps.values() if step.after.state is StepState.QUEUED
        ]

    def newly_queued(self) -> list[int]:
        """Indexes of the steps that this transaction made QUEUED, in the order of the file."""
        return sorted(step for _, step in self.queued)

    def take(self, event: Event, note: Note = NO_NOTE) -> Refused | None:
        """Apply an event; nothing changes if it is refused."""
        result = advance(self.snapshot, event)
        if isinstance(result, Refused):
            return result
        for decision in result.decisions:
            match decision:
                case StepChanged():
                    self._step_changed(decision, note)
                case AttemptEnded():
                    self._attempt_ended(decision, note)
                case DeadLettered():
                    self._dead_lettered(decision)
                case RunChanged():
                    self._run_changed(decision)
        self.snapshot = result.snapshot
        self.write.state = result.snapshot.state
        self.write.error = result.snapshot.stop_error
        return None

    def _step_changed(self, change: StepChanged, note: Note) -> None:
        """Fold the changes of one step: only the first state before and the last one after are ever durable."""
        write = self.write.steps.get(change.step)
        if write is None:
            write = StepWrite(
                step=change.step, before=change.before, after=change.after, exists=change.step in self.rows, cause=""
            )
            self.write.steps[change.step] = write
        write.after = change.after
        write.cause = change.cause
        write.error = change.error
        write.delay = change.delay
        write.output = change.output if change.after.state is StepState.SUCCEEDED else None
        write.needs_lease = write.needs_lease or (note.needs_lease and change.before.state is StepState.RUNNING)
        write.result_hash = note.result_hash if change.before.state is StepState.RUNNING else None
        attempted = change.after.attempt > change.before.attempt
        if attempted or change.before.state is StepState.RUNNING:
            write.executor_id = note.executor_id or write.executor_id
        if attempted:
            write.elapsed = note.elapsed

    def _attempt_ended(self, ended: AttemptEnded, note: Note) -> None:
        row = self.rows.get(ended.step)
        view = self.snapshot.step(ended.step)
        carried = view.state is not StepState.RUNNING
        started = None if carried or row is None else row.started_at
        self.write.attempts.append(
            AttemptWrite(
                step=ended.step,
                epoch=ended.epoch,
                attempt=ended.attempt,
                outcome=ended.outcome,
                token=view.token + 1 if carried else view.token,
                executor_id=note.executor_id or (row.executor_id if row else None),
                error=ended.error,
                started_at=started,
                elapsed=note.elapsed,
            )
        )

    def _dead_lettered(self, letter: DeadLettered) -> None:
        self.write.dead_letters.append(
            DeadLetterWrite(
                dead_letter_id=new_id(),
                step=letter.step,
                step_id=self.workflow.steps[letter.step].id,
                view=self.write.steps[letter.step].after,
                error=letter.error,
                reason=letter.reason,
            )
        )

    def _run_changed(self, change: RunChanged) -> None:
        self.write.run_causes.append((change.before, change.after, change.cause))
        if change.after is RunState.SUCCEEDED and self.workflow.has_output:
            self.write.output = self.write.steps[len(self.workflow.steps) - 1].output
        if change.cause == "redriven" and self.workflow.timeout is not None:
            self.write.timeout = timedelta(seconds=self.workflow.timeout)

    def step_row(self, index: int) -> StepRow | None:
        """The step as it was read at the start of the transaction."""
        return self.rows.get(index)

    def view(self, index: int) -> StepView:
        """The step as it is after the events so far."""
        return self.snapshot.step(index)


def _nothing(row: RunRow) -> RunWrite:
    return RunWrite(run_id=row.run_id, workflow=row.workflow, from_state=row.state, from_seq=row.seq, state=row.state)


def _row_after(step: StepWrite, before: StepRow | None, at: datetime) -> StepRow:
    started = None if before is None else before.started_at
    return StepRow(
        view=step.after,
        executor_id=step.executor_id or (None if before is None else before.executor_id),
        lease_alive=step.after.state is StepState.RUNNING,
        is_due=False,
        result_hash=step.result_hash,
        started_at=started if step.elapsed is None else at - step.elapsed,
    )


async def without_waiting_long(work: Callable[[Patience], Awaitable[Result]]) -> Result:
    """Do a transaction over many runs, whose argument is for `load_turns`.

    A scheduler that stands still before its commit holds its runs until the server ends its session. The others' work
    is done without those runs, once it is clear that they are not about to be free. What met with a heartbeat is done
    again.
    """
    try:
        return await work(Patience.SHORT)
    except store.RunsHeld:
        return await work(Patience.NONE)
    except WriteConflict:
        return await work(Patience.SHORT)


async def load_turns(
    connection: Connection, definitions: Definitions, run_ids: Iterable[UUID], *, patience: Patience = Patience.LONG
) -> dict[UUID, RunTurn]:
    """Lock runs and read their steps. Runs that do not exist, or whose definition cannot be read, are left out."""
    rows = await store.lock_runs(connection, set(run_ids), patience=patience)
    if not rows:
        return {}
    steps = await store.read_steps(connection, rows)
    turns = {}
    for run_id, row in rows.items():
        workflow = definitions.cached(row.revision_id) or await definitions.load(connection, row.revision_id)
        if workflow is not None:
            turns[run_id] = RunTurn(row, workflow, steps.get(run_id, {}))
    return turns


async def save_turns(connection: Connection, turns: Iterable[RunTurn], *, lease: timedelta) -> Mapping[UUID, datetime]:
    """Write what the turns changed; returns when each that has changed was written."""
    return await write_runs(connection, [turn.write for turn in turns], lease=lease)


async def write_known(database: Database, turns: Iterable[RunTurn], *, lease: timedelta) -> Mapping[UUID, datetime]:
    """Write what remembered turns changed, unless their runs have changed meanwhile or are held; in a transaction of
    its own. Returns when each was written."""
    changed = [turn.write for turn in turns if turn.write.changed]
    try:
        return await write_known_runs(database, changed, lease=lease) if changed else {}
    except Undone:
        return {}


def queued_refs(turns: Iterable[RunTurn]) -> Sequence[StepRef]:
    """Everything that the turns left QUEUED."""
    return [ref for turn in turns for ref in turn.queued]


RUN_TIMED_OUT = StepError(kind=ErrorKind.RUN_TIMEOUT, message="the run's timeout passed")
