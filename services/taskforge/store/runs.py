"""Rows of runs and steps, and the arrays that write them. The scheduler's side; reads for the API are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from taskforge.domain.errors import Aborted
from taskforge.domain.outcome import ErrorKind, StepError
from taskforge.domain.run import StepView
from taskforge.domain.states import AttemptOutcome, RunState, StepState
from taskforge.store.pool import Connection

FILE = "runs"


class WriteConflict(Aborted):
    """A compare-and-set found another state than the one that was read: a lease ran out in between."""

    def __init__(self) -> None:
        super().__init__("LEASE_LOST", "the step or run was changed in between")


class RunsHeld(Exception):
    """Another transaction has held a run for longer than the caller would wait. Nothing of this one may be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run under its row lock."""

    run_id: UUID
    workflow: str
    revision_id: UUID
    state: RunState
    seq: int
    error: StepError | None
    is_overdue: bool = False  #: its timeout has passed


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A step as stored, with what the fence needs."""

    view: StepView
    executor_id: UUID | None
    lease_alive: bool
    is_due: bool  #: a RETRYING step's delay is over
    result_hash: bytes | None
    started_at: datetime | None


@dataclass(slots=True, kw_only=True)
class StepWrite:
    """One step's change in this transaction: from what was read to what is written."""

    step: int
    before: StepView
    after: StepView
    exists: bool
    cause: str
    executor_id: UUID | None = None
    output: str | None = None
    error: StepError | None = None
    delay: float | None = None
    result_hash: bytes | None = None
    started_at: datetime | None = None
    needs_lease: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptWrite:
    """An attempt that ended."""

    step: int
    epoch: int
    attempt: int
    outcome: AttemptOutcome
    token: int
    executor_id: UUID | None
    error: StepError | None
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterWrite:
    """A step that gave up."""

    dead_letter_id: UUID
    step: int
    step_id: str
    view: StepView
    error: StepError
    reason: str


@dataclass(slots=True, kw_only=True)
class RunWrite:
    """Everything that a transaction changes about one run."""

    run_id: UUID
    workflow: str
    from_state: RunState | None  #: None: the run is being inserted
    from_seq: int
    state: RunState
    error: StepError | None = None
    run_causes: list[tuple[str, str, str]] = field(default_factory=list)  #: (from, to, cause) of the run itself
    output: str | None = None
    deadline_at: datetime | None = None
    steps: dict[int, StepWrite] = field(default_factory=dict)
    attempts: list[AttemptWrite] = field(default_factory=list)
    dead_letters: list[DeadLetterWrite] = field(default_factory=list)

    @property
    def seq(self) -> int:
        """The sequence number after this transaction: one event a change."""
        return self.from_seq + len(self.run_causes) + len(self.steps)

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.seq != self.from_seq


def of_runs(run_ids: Collection[UUID]) -> dict[str, Any]:
    """The parameters by which queries find rows of some runs, one at least: their ids, and bounds for the planner."""
    return {"run_ids": list(run_ids), "first": min(run_ids), "last": max(run_ids)}


async def lock_runs(
    connection: Connection, run_ids: Collection[UUID], *, patience: float | None = None
) -> dict[UUID, RunRow]:
    """Lock runs in the order of their ids; runs that do not exist are left out.

    Args:
        connection: within a transaction.
        run_ids: which.
        patience: for how many seconds a run that another transaction holds is waited for before RunsHeld is raised.
            None: for as long as the server allows; 0: not at all, and what is held is left out.
    """
    if not run_ids:
        return {}
    if patience:
        await connection.run("wait_for_locks", milliseconds=str(round(1000 * patience)))
    try:
        rows = await connection.rows("lock_free_runs" if patience == 0 else "lock_runs", **of_runs(run_ids))
    except asyncpg.LockNotAvailableError as error:
        if not patience:
            raise  # held runs were to be left out, so it is the whole table that is locked
        raise RunsHeld from error
    return {
        row["run_id"]: RunRow(
            run_id=row["run_id"],
            workflow=row["workflow"],
            revision_id=row["revision_id"],
            state=RunState(row["state"]),
            seq=row["seq"],
            error=error_from_json(row["error"]),
            is_overdue=bool(row["is_overdue"]),
        )
        for row in rows
    }


async def read_steps(
    connection: Connection, run_ids: Collection[UUID]
) -> tuple[datetime, dict[UUID, dict[int, StepRow]]]:
    """Read the database's time and all steps of locked runs."""
    rows = await connection.rows("read_steps", **of_runs(run_ids))
    now: datetime = rows[0]["now"]
    found: dict[UUID, dict[int, StepRow]] = {}
    for row in rows:
        if row["run_id"] is not None:
            found.setdefault(row["run_id"], {})[row["step"]] = _step_row(row, now)
    return now, found


def _step_row(row: Mapping[str, Any], now: datetime) -> StepRow:
    first: datetime | None = row["first_started_at"]
    view = StepView(
        state=StepState(row["state"]),
        attempt=row["attempt"],
        failures=row["failures"],
        crashes=row["crashes"],
        epoch=row["epoch"],
        token=row["lease_token"],
        branch=row["branch"],
        elapsed=(now - first).total_seconds() if first else 0.0,
    )
    return StepRow(
        view=view,
        executor_id=row["executor_id"],
        lease_alive=bool(row["lease_alive"]),
        is_due=bool(row["is_due"]),
        result_hash=row["result_hash"],
        started_at=row["started_at"],
    )


async def write_runs(connection: Connection, writes: Sequence[RunWrite], *, now: datetime, lease: timedelta) -> None:
    """Write all changes of a transaction.

    Raises:
        WriteConflict: a row was not in the state that had been read; nothing of the transaction may be kept.
    """
    writes = [write for write in writes if write.changed]
    if not writes:
        return
    await _update_runs(connection, [write for write in writes if write.from_state is not None], now)
    await _write_steps(connection, writes, now, lease)
    await _insert_attempts(connection, writes, now)
    await _insert_events(connection, writes, now)
    await _insert_dead_letters(connection, writes)


async def _update_runs(connection: Connection, writes: Sequence[RunWrite], now: datetime) -> None:
    if not writes:
        return
    touched = await connection.run(
        "update_runs",
        now=now,
        **of_runs([w.run_id for w in writes]),
        from_states=[w.from_state for w in writes],
        from_seqs=[w.from_seq for w in writes],
        states=[w.state for w in writes],
        seqs=[w.seq for w in writes],
        errors=[error_to_json(w.error) for w in writes],
        outputs=[w.output for w in writes],
        deadlines=[w.deadline_at for w in writes],
    )
    if touched != len(writes):
        raise WriteConflict


async def _write_steps(connection: Connection, writes: Sequence[RunWrite], now: datetime, lease: timedelta) -> None:
    fresh = [(w.run_id, step) for w in writes for step in w.steps.values() if not step.exists]
    kept = [(w.run_id, step) for w in writes for step in w.steps.values() if step.exists]
    if fresh:
        run_ids = [run_id for run_id, _ in fresh]
        await connection.run("insert_steps", now=now, lease=lease, run_ids=run_ids, **_step_columns(fresh))
    if kept:
        touched = await connection.run(
            "update_steps",
            now=now,
            lease=lease,
            **_step_columns(kept),
            **of_runs([run_id for run_id, _ in kept]),
            from_states=[step.before.state for _, step in kept],
            from_tokens=[step.before.token for _, step in kept],
            needs_lease=[step.needs_lease for _, step in kept],
        )
        if touched != len(kept):
            raise WriteConflict


def _step_columns(rows: Sequence[tuple[UUID, StepWrite]]) -> dict[str, list[Any]]:
    views = [step.after for _, step in rows]
    return {
        "steps": [step.step for _, step in rows],
        "states": [view.state for view in views],
        "causes": [step.cause for _, step in rows],
        "epochs": [view.epoch for view in views],
        "attempts": [view.attempt for view in views],
        "failures": [view.failures for view in views],
        "crashes": [view.crashes for view in views],
        "tokens": [view.token for view in views],
        "executor_ids": [step.executor_id for _, step in rows],
        "delays": [None if step.delay is None else timedelta(seconds=step.delay) for _, step in rows],
        "started_ats": [step.started_at for _, step in rows],
        "branches": [view.branch for view in views],
        "outputs": [step.output for _, step in rows],
        "errors": [error_to_json(step.error) for _, step in rows],
        "result_hashes": [step.result_hash for _, step in rows],
    }


async def _insert_attempts(connection: Connection, writes: Sequence[RunWrite], now: datetime) -> None:
    rows = [(w.run_id, attempt) for w in writes for attempt in w.attempts]
    if not rows:
        return
    await connection.run(
        "insert_attempts",
        now=now,
        run_ids=[run_id for run_id, _ in rows],
        steps=[attempt.step for _, attempt in rows],
        epochs=[attempt.epoch for _, attempt in rows],
        attempts=[attempt.attempt for _, attempt in rows],
        outcomes=[attempt.outcome for _, attempt in rows],
        tokens=[attempt.token for _, attempt in rows],
        executor_ids=[attempt.executor_id for _, attempt in rows],
        errors=[error_to_json(attempt.error) for _, attempt in rows],
        started_ats=[attempt.started_at for _, attempt in rows],
    )


async def _insert_events(connection: Connection, writes: Sequence[RunWrite], now: datetime) -> None:
    rows = [event for write in writes for event in _events(write)]
    columns = list(zip(*rows, strict=True))
    names = (
        "run_ids", "seqs", "steps", "from_states", "to_states", "causes", "epochs", "attempts", "tokens",
        "executor_ids", "messages",
    )  # fmt: skip
    await connection.run("insert_events", now=now, **{n: list(c) for n, c in zip(names, columns, strict=True)})


def _events(write: RunWrite) -> Iterable[tuple[Any, ...]]:
    """One event a change, steps before the run's own last one, so that a history reads in the order of causes."""
    seq = write.from_seq
    opening = [change for change in write.run_causes if change[1] not in _RUN_ENDS]
    closing = [change for change in write.run_causes if change[1] in _RUN_ENDS]
    for before, after, cause in opening:
        seq += 1
        yield (write.run_id, seq, None, before, after, cause, 0, 0, 0, None, "")
    for step in write.steps.values():
        seq += 1
        view = step.after
        message = step.error.message if step.error else ""
        yield (
            write.run_id, seq, step.step, step.before.state, view.state, step.cause, view.epoch, view.attempt,
            view.token, step.executor_id, message,
        )  # fmt: skip
    for before, after, cause in closing:
        seq += 1
        yield (write.run_id, seq, None, before, after, cause, 0, 0, 0, None, write.error.message if write.error else "")


_RUN_ENDS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})


async def _insert_dead_letters(connection: Connection, writes: Sequence[RunWrite]) -> None:
    rows = [(w, letter) for w in writes for letter in w.dead_letters]
    if not rows:
        return
    await connection.run(
        "insert_dead_letters",
        dead_letter_ids=[letter.dead_letter_id for _, letter in rows],
        run_ids=[w.run_id for w, _ in rows],
        steps=[letter.step for _, letter in rows],
        epochs=[letter.view.epoch for _, letter in rows],
        workflows=[w.workflow for w, _ in rows],
        step_ids=[letter.step_id for _, letter in rows],
        errors=[error_to_json(letter.error) for _, letter in rows],
        reasons=[letter.reason for _, letter in rows],
        attempts=[letter.view.attempt for _, letter in rows],
        crashes=[letter.view.crashes for _, letter in rows],
    )


def error_to_json(error: StepError | None) -> str | None:
    """The stored form of an error: an object with `kind`, `message`, `status`, `details`."""
    if error is None:
        return None
    document = {"kind": error.kind, "message": error.message, "status": error.status, "details": error.details}
    return json.dumps({key: value for key, value in document.items() if value is not None}, ensure_ascii=False)


def error_from_json(text: str | None) -> StepError | None:
    """The inverse of `error_to_json`."""
    if text is None:
        return None
    document = json.loads(text)
    return StepError(
        kind=ErrorKind(document["kind"]),
        message=document["message"],
        status=document.get("status"),
        details=document.get("details"),
    )
