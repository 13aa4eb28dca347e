"""The transactions of the model, each in one piece.

What an event changes is decided by the product's own `advance`. What a transaction reads, compares and remembers around
it is said here once more, as simply as possible; `tests/integration/test_model_conformance.py` compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from taskforge.domain.advance import advance
from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, StepError, Succeeded
from taskforge.domain.run import (
    ABSENT,
    AttemptEnded,
    CancelRequested,
    Claimed,
    DeadLettered,
    Event,
    Finished,
    LeaseExpired,
    Redriven,
    Refused,
    RetryDue,
    RunChanged,
    Snapshot,
    Started,
    StepChanged,
    StepView,
)
from taskforge.domain.states import RunState, StepState
from taskforge.domain.workflow import Workflow
from tests.chaos.model.rows import MAX_CRASHES, NOBODY, Bug, Grant, Letter, Result, Row, Tables, Verdict

OUTCOMES: dict[Result, Outcome] = {
    Result.SUCCEEDED: Succeeded(output="null"),
    Result.FAILED: Failed(error=StepError(kind=ErrorKind.STATUS, message="no", status=503)),
    Result.UNSTORABLE: Failed(error=StepError(kind=ErrorKind.OUTPUT, message="no")),
    Result.CANCELLED: Cancelled(),
    Result.RELEASED: Released(),
}


class Change(NamedTuple):
    """A transaction that may commit: the tables after it, and how the run's state moved."""

    after: Tables
    run_path: tuple[RunState, ...] = ()


@dataclass(slots=True)
class Turn:
    """One transaction on the run."""

    tables: Tables
    workflow: Workflow
    bugs: frozenset[Bug]
    snapshot: Snapshot = field(init=False)
    rows: list[Row] = field(init=False)
    letters: list[Letter] = field(init=False)
    wins: list[tuple[int, int, int]] = field(init=False)
    run_path: list[RunState] = field(init=False)

    def __post_init__(self) -> None:
        views = {index: row.view for index, row in enumerate(self.tables.rows) if row.view is not ABSENT}
        self.snapshot = Snapshot(
            workflow=self.workflow, state=self.tables.run, steps=views, stop_error=self.tables.error
        )
        self.rows, self.letters = list(self.tables.rows), list(self.tables.letters)
        self.wins, self.run_path = list(self.tables.wins), [self.tables.run]

    def take(self, event: Event, *, executor: int = NOBODY, result: str | None = None) -> bool:
        """Apply an event, if `advance` does not refuse it."""
        advanced = advance(self.snapshot, event)
        if isinstance(advanced, Refused):
            return False
        for decision in advanced.decisions:
            match decision:
                case StepChanged(step=step, before=before, after=after):
                    self._write(step, before, after, executor, result)
                case RunChanged(after=run):
                    self.run_path.append(run)
                case DeadLettered(step=step, epoch=epoch):
                    if Bug.LETTER_LOST not in self.bugs or epoch == 0:
                        self.letters.append(Letter(step, epoch, True))
                case AttemptEnded():
                    pass
        self.snapshot = advanced.snapshot
        return True

    def _write(self, step: int, before: StepView, after: StepView, executor: int, result: str | None) -> None:
        row = self.rows[step]
        leaves = before.state is StepState.RUNNING
        if leaves or after.attempt > before.attempt:
            row = row._replace(holder=row.holder if executor == NOBODY else executor)
        if after.state is StepState.SUCCEEDED:
            self.wins.append((step, after.epoch, after.token))
        if after.epoch > before.epoch:
            row = row._replace(released=0)
        kept = result if leaves and Bug.RESULT_NOT_REMEMBERED not in self.bugs else None
        taken = (after.token, result) if leaves and result is not None else None
        released = row.released + (result == Result.RELEASED and leaves)
        alive = after.state is StepState.RUNNING
        self.rows[step] = row._replace(view=after, alive=alive, due=False, result=kept, taken=taken, released=released)

    def spoil_token(self, step: int, token: int) -> None:
        """Write another token than `advance` decided: for bugs."""
        row = self.rows[step]
        self.rows[step] = row._replace(view=row.view._replace(token=token))
        steps = {**self.snapshot.steps, step: self.rows[step].view}
        self.snapshot = self.snapshot._replace(steps=steps)

    def close_letters(self, step: int | None = None) -> None:
        """Mark open letters as redriven: one step's, or all."""
        self.letters = [
            letter._replace(is_open=False) if step in (None, letter.step) else letter for letter in self.letters
        ]

    def change(self) -> Change:
        """What is written at the commit."""
        after = Tables(
            run=self.snapshot.state,
            error=self.snapshot.stop_error,
            rows=tuple(self.rows),
            letters=tuple(sorted(self.letters)),
            wins=tuple(sorted(self.wins)),
        )
        return Change(after, tuple(self.run_path))


class Transactions:
    """Every transaction of the scheduler: from tables to tables, and what is answered if it commits."""

    def __init__(self, workflow: Workflow, bugs: frozenset[Bug] = frozenset()) -> None:
        self.workflow = workflow
        self._bugs = bugs

    def started(self) -> Tables:
        """A run that was just accepted."""
        turn = self._turn(Tables(RunState.QUEUED, None, (Row(),) * len(self.workflow.steps)))
        turn.take(Started())
        return turn.change().after

    def claim(
        self, tables: Tables, executor: int, hint: int | None, held: frozenset[Grant]
    ) -> tuple[Change, tuple[Grant, ...]]:
        """Lease what a hint names, or without one whatever is QUEUED, and grant again what its holder does not name."""
        turn = self._turn(tables)
        wanted = range(len(tables.rows)) if hint is None else (hint,)
        grants = [self._claim_one(turn, executor, step, held) for step in wanted]
        return turn.change(), tuple(grant for grant in grants if grant is not None)

    def _claim_one(self, turn: Turn, executor: int, step: int, held: frozenset[Grant]) -> Grant | None:
        row = turn.tables.rows[step]
        anybody = Bug.GRANT_AGAIN_TO_ANYBODY in self._bugs
        again = Grant(step, row.view.token)
        if row.is_leased and (row.holder == executor or anybody):
            return again if again not in held else None
        if row.view.state is not StepState.QUEUED:
            return None
        return self._lease(turn, executor, step)

    def _lease(self, turn: Turn, executor: int, step: int) -> Grant | None:
        before = turn.snapshot.step(step).token
        if not turn.take(Claimed(step=step), executor=executor):
            return None
        if Bug.TOKEN_STAYS_ON_CLAIM in self._bugs:
            turn.spoil_token(step, max(before, 1))
        return Grant(step, turn.rows[step].view.token)

    def complete(
        self, tables: Tables, executor: int, lease: Grant, result: Result, *, accept_next: bool = True
    ) -> tuple[Change, Verdict, Grant | None]:
        """Write a result that holds its lease, and lease the next step along with it."""
        turn, row = self._turn(tables), tables.rows[lease.step]
        fenced = Bug.NO_FENCE_ON_COMPLETE not in self._bugs
        if fenced and row.view.token != lease.token:
            return turn.change(), Verdict.STALE_LEASE, None
        if row.view.state is not StepState.RUNNING:
            if row.result != result:
                return turn.change(), Verdict.STALE_LEASE, None
            return turn.change(), Verdict.ALREADY_ACCEPTED, self._granted_before(tables, executor)
        late = not row.alive and Bug.COMPLETE_AFTER_EXPIRY not in self._bugs
        if fenced and (late or row.holder != executor):
            return turn.change(), Verdict.STALE_LEASE, None
        if not turn.take(Finished(step=lease.step, outcome=OUTCOMES[result]), executor=executor, result=result):
            return turn.change(), Verdict.STALE_LEASE, None
        following = self._grant_next(turn, executor) if accept_next else None
        return turn.change(), Verdict.ACCEPTED, following

    def _grant_next(self, turn: Turn, executor: int) -> Grant | None:
        for step, (old, new) in enumerate(zip(turn.tables.rows, tuple(turn.rows), strict=True)):
            if new.view.state is StepState.QUEUED and new is not old:
                grant = self._lease(turn, executor, step)
                if grant is not None:
                    return grant
        return None

    def _granted_before(self, tables: Tables, executor: int) -> Grant | None:
        for step, row in enumerate(tables.rows):
            if row.is_leased and row.holder == executor:
                return Grant(step, row.view.token)
        return None

    def expire(self, tables: Tables, step: int) -> Change:
        """Take back a step that a sweep found expired, if it still is."""
        turn, row = self._turn(tables), tables.rows[step]
        again = row.view.state is StepState.RUNNING and not row.alive
        if again or Bug.EXPIRE_WITHOUT_LOOKING_AGAIN in self._bugs:
            turn.take(LeaseExpired(step=step, max_crashes=MAX_CRASHES))
        return turn.change()

    def queue_due(self, tables: Tables, step: int) -> Change:
        """Queue a step that a sweep found due, if it still is."""
        turn, row = self._turn(tables), tables.rows[step]
        if row.due or Bug.RETRY_WITHOUT_LOOKING_AGAIN in self._bugs:
            turn.take(RetryDue(step=step))
        return turn.change()

    def cancel(self, tables: Tables) -> Change:
        """Ask the run to stop."""
        turn = self._turn(tables)
        turn.take(CancelRequested(reason="cancel_requested"))
        return turn.change()

    def retry_run(self, tables: Tables) -> Change:
        """Run everything again that failed or was cancelled."""
        turn = self._turn(tables)
        again = [i for i, row in enumerate(tables.rows) if row.view.state in (StepState.FAILED, StepState.CANCELLED)]
        if tables.run in (RunState.FAILED, RunState.CANCELLED) and self._redrive(turn, again):
            turn.close_letters()
        return turn.change()

    def redrive(self, tables: Tables, step: int, epoch: int) -> Change:
        """Run the step of one dead letter again."""
        turn = self._turn(tables)
        is_current = Letter(step, epoch, True) in tables.letters and tables.rows[step].view.epoch == epoch
        if is_current and self._redrive(turn, [step]):
            turn.close_letters(step)
        return turn.change()

    def _redrive(self, turn: Turn, steps: Sequence[int]) -> bool:
        if not turn.take(Redriven(steps=tuple(steps))):
            return False
        if Bug.TOKEN_RESTARTS_ON_REDRIVE in self._bugs:
            for step in steps:
                turn.spoil_token(step, 0)
        return True

    def _turn(self, tables: Tables) -> Turn:
        return Turn(tables, self.workflow, self._bugs)
