"""What a batch changes about runs, and the one statement that writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from taskforge.domain.errors import Aborted
from taskforge.domain.outcome import StepError
from taskforge.domain.run import StepView
from taskforge.domain.states import RUN_FINAL, AttemptOutcome, RunState
from taskforge.store.pool import Connection, Database
from taskforge.store.runs import FILE, error_to_json, of_runs

Row = tuple[Any, ...]


class WriteConflict(Aborted):
    """A compare-and-set found another state than the one that was read: a lease ran out in between."""

    def __init__(self) -> None:
        super().__init__("LEASE_LOST", "the step or run was changed in between")


@dataclass(slots=True, kw_only=True)
class StepWrite:
    """One step's change: from what was read to what is written."""

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
    elapsed: timedelta | None = None  #: an attempt began so long before the write
    needs_lease: bool = False


class AttemptWrite(NamedTuple):
    """An attempt that ended."""

    step: int
    epoch: int
    attempt: int
    outcome: AttemptOutcome
    token: int
    executor_id: UUID | None
    error: StepError | None
    started_at: datetime | None
    elapsed: timedelta  #: counts if there is no `started_at`


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterWrite:
    """A step that gave up."""

    dead_letter_id: UUID
    step: int
    step_id: str
    view: StepView
    error: StepError
    reason: str


class KeyWrite(NamedTuple):
    """A key that a new run takes, unless it is taken. They sort by what is locked."""

    scope: str
    key: str
    run_id: UUID
    request_hash: bytes


class Creation(NamedTuple):
    """What only the insertion of a run writes. JSON fields are checked text."""

    revision_id: UUID
    cause_kind: str
    cause_trigger: str
    cause_id: str
    inputs: str
    trigger: str
    labels: str
    timeout: timedelta | None


@dataclass(slots=True, kw_only=True)
class RunWrite:
    """Everything that a batch changes about one run."""

    run_id: UUID
    workflow: str
    creation: Creation | None = None  #: of a run that is being inserted
    from_state: RunState
    from_seq: int
    state: RunState
    error: StepError | None = None
    run_causes: list[tuple[str, str, str]] = field(default_factory=list)  #: (from, to, cause) of the run itself
    output: str | None = None
    timeout: timedelta | None = None  #: begins anew
    steps: dict[int, StepWrite] = field(default_factory=dict)
    attempts: list[AttemptWrite] = field(default_factory=list)
    dead_letters: list[DeadLetterWrite] = field(default_factory=list)

    @property
    def seq(self) -> int:
        """The sequence number after this batch: one event a change."""
        return self.from_seq + len(self.run_causes) + len(self.steps)

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.run_causes or self.steps)


def arguments(writes: Iterable[RunWrite], *, lease: timedelta) -> dict[str, Any]:
    """The values of the statement `write_runs`, in the order of the runs' ids: batches cannot deadlock."""
    ordered = sorted(writes, key=_run_id)
    rows: dict[str, list[Row]] = {name: [] for name in ("runs", "steps", "events", "attempts", "dead_letters")}
    for write in ordered:
        rows["runs"].append(_run_row(write))
        _add_changes(write, rows["steps"], rows["events"])
        rows["attempts"] += [_attempt_row(write.run_id, attempt) for attempt in write.attempts]
        rows["dead_letters"] += [_dead_letter_row(write, letter) for letter in write.dead_letters]
    return {**of_runs([write.run_id for write in ordered]), "lease": lease, **rows}


def _creations(writes: Iterable[RunWrite], keys: Iterable[KeyWrite] = ()) -> dict[str, list[Any]]:
    """The values of the statement `create_runs`."""
    rows: dict[str, list[Any]] = {name: [] for name in ("new_runs", "steps", "events")}
    for write in sorted(writes, key=_run_id):
        assert write.creation is not None  # noqa: S101 -- the caller says that they are new
        rows["new_runs"].append(_new_run_row(write, write.creation))
        _add_changes(write, rows["steps"], rows["events"])
    return {**rows, **_columns(sorted(keys))}


def _columns(keys: Sequence[KeyWrite]) -> dict[str, list[Any]]:
    scopes, names, owners, hashes = zip(*keys, strict=True) if keys else ((), (), (), ())
    return {"scopes": list(scopes), "keys": list(names), "owners": list(owners), "request_hashes": list(hashes)}


async def create_runs(connection: Connection, writes: Sequence[RunWrite]) -> dict[UUID, datetime]:
    """Insert new runs; returns when, for those that did not exist."""
    if not writes:
        return {}
    return _written(await connection.rows("create_runs", **_creations(writes)))


async def create_runs_at_once(
    database: Database, writes: Sequence[RunWrite], keys: Sequence[KeyWrite]
) -> dict[UUID, datetime]:
    """The same, in a transaction of one statement, for those that have no key or get theirs."""
    return _written(await database.write(FILE, "create_runs", **_creations(writes, keys)))


async def write_runs(connection: Connection, writes: Iterable[RunWrite], *, lease: timedelta) -> dict[UUID, datetime]:
    """Write all changes of runs that are locked; returns when, for those that changed.

    Raises:
        WriteConflict: a run was not as it had been read; nothing of the transaction may be kept.
    """
    writes = [write for write in writes if write.changed]
    if not writes:
        return {}
    try:
        rows = await connection.rows("write_runs", **arguments(writes, lease=lease))
    except asyncpg.SerializationError as error:
        raise WriteConflict from error
    if len(rows) < len(writes):
        raise WriteConflict
    return _written(rows)


async def write_known_runs(database: Database, writes: Sequence[RunWrite], *, lease: timedelta) -> dict[UUID, datetime]:
    """Write changes of runs that were not looked at, in a transaction of one statement.

    Returns:
        When, for each that was as it was known. The others are as if nobody had asked.

    Raises:
        Undone: somebody was in the way; nothing was written.
    """
    return _written(await database.write(FILE, "write_runs", **arguments(writes, lease=lease)))


def _written(rows: Iterable[Any]) -> dict[UUID, datetime]:
    return {row["run_id"]: row["now"] for row in rows}


def _run_id(write: RunWrite) -> UUID:
    return write.run_id


def _new_run_row(write: RunWrite, new: Creation) -> Row:
    return (
        write.run_id, write.workflow, new.revision_id, write.seq, new.cause_kind, new.cause_trigger, new.cause_id,
        new.inputs, new.trigger, new.labels, new.timeout,
    )  # fmt: skip


def _run_row(write: RunWrite) -> Row:
    return (
        write.run_id, write.from_state, write.from_seq, write.state, write.seq, error_to_json(write.error),
        write.output, write.timeout,
    )  # fmt: skip


def _add_changes(write: RunWrite, steps: list[Row], events: list[Row]) -> None:
    """Number the changes, steps before the run's own last one, so that a history reads in the order of causes."""
    seq = write.from_seq
    for change in write.run_causes:
        if change[1] not in RUN_FINAL:
            seq += 1
            events.append((write.run_id, seq, *change, ""))
    for step in write.steps.values():
        seq += 1
        steps.append(_step_row(write.run_id, seq, step))
    for change in write.run_causes:
        if change[1] in RUN_FINAL:
            seq += 1
            events.append((write.run_id, seq, *change, write.error.message if write.error else ""))


def _step_row(run_id: UUID, seq: int, step: StepWrite) -> Row:
    before, view = step.before, step.after
    return (
        run_id, step.step, seq, step.exists, step.needs_lease, before.state, before.token, view.state, step.cause,
        view.epoch, view.attempt, view.failures, view.crashes, view.token, step.executor_id,
        None if step.delay is None else timedelta(seconds=step.delay), step.elapsed, view.branch, step.output,
        error_to_json(step.error), step.result_hash,
    )  # fmt: skip


def _attempt_row(run_id: UUID, attempt: AttemptWrite) -> Row:
    return (
        run_id, attempt.step, attempt.epoch, attempt.attempt, attempt.outcome, attempt.token, attempt.executor_id,
        error_to_json(attempt.error), attempt.started_at, attempt.elapsed,
    )  # fmt: skip


def _dead_letter_row(write: RunWrite, letter: DeadLetterWrite) -> Row:
    return (
        letter.dead_letter_id, write.run_id, letter.step, letter.view.epoch, write.workflow, letter.step_id,
        error_to_json(letter.error), letter.reason, letter.view.attempt, letter.view.crashes,
    )  # fmt: skip
