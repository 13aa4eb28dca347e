"""Runs as people see them: read only, and apart from runs.py, through which the scheduler writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from taskforge.domain.ids import first_uuid7_at
from taskforge.domain.states import RunState
from taskforge.store.pool import Database

FILE = "run_reads"

#: Above every id: where a list from the newest one on begins.
LAST_ID = UUID(int=(1 << 128) - 1)
#: Bytes of outputs that one answer holds. As protobuf values they may take five times as much.
OUTPUT_BUDGET = 4 * 1024 * 1024

_DAWN = datetime(1970, 1, 1, tzinfo=UTC)
# Ids carry the clock of the service that made them, `created_at` that of the database.
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run. JSON fields are text; `inputs` and `output` are only read with the whole run."""

    run_id: UUID
    workflow: str
    revision_id: UUID
    revision: int | None
    state: str
    seq: int
    cause_kind: str
    cause_trigger: str
    cause_id: str
    labels: str
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    inputs: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A step that has left PENDING at some time."""

    step: int
    state: str
    cause: str
    attempt: int
    crashes: int
    executor_id: UUID | None
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None
    output: str | None
    output_omitted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """An attempt that ended."""

    step: int
    epoch: int
    attempt: int
    outcome: str
    error: str | None
    executor_id: UUID | None
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run with its steps, as they were at one moment."""

    run: RunRow
    steps: tuple[StepRow, ...]
    attempts: tuple[AttemptRow, ...] = ()

    @property
    def json_chars(self) -> int:
        """How much JSON there is to convert."""
        texts = [self.run.inputs, self.run.output, *(step.output for step in self.steps)]
        return sum(len(text) for text in texts if text is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """What is needed to go on with a run's other tables."""

    run_id: UUID
    workflow: str
    revision_id: UUID
    state: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One change of a run or of one of its steps."""

    seq: int
    at: datetime
    step: int | None
    from_state: str
    to_state: str
    cause: str
    attempt: int
    executor_id: UUID | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One line that a run logged."""

    log_id: int
    step: int
    attempt: int
    at: datetime
    level: str
    message: str
    data: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list. An empty `workflow` or `states` means any."""

    workflow: str = ""
    states: frozenset[RunState] = frozenset()
    since: datetime | None = None


class RunReads:
    """Reads runs and their history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, run_id: UUID, *, attempts: bool) -> RunRecord | None:
        """A run with its steps, and with its attempts if they are wanted."""
        async with self._database.snapshot(FILE) as connection:
            run = await connection.row("read_run", run_id=run_id)
            if run is None:
                return None
            steps = await connection.rows("read_run_steps", run_id=run_id, output_budget=OUTPUT_BUDGET)
            ended = await connection.rows("read_run_attempts", run_id=run_id) if attempts else []
        return RunRecord(
            run=RunRow(**run),
            steps=tuple(StepRow(**row) for row in steps),
            attempts=tuple(AttemptRow(**row) for row in ended),
        )

    async def head(self, run_id: UUID) -> RunHead | None:
        """A run without anything large."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("read_run_head", run_id=run_id)
        return RunHead(**row) if row else None

    async def sequences(self, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """The numbers of the last events; unknown runs are left out."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("read_run_sequences", run_ids=list(run_ids))
        return {row["run_id"]: row["seq"] for row in rows}

    async def find_between(self, low: UUID, high: UUID, *, limit: int) -> list[UUID]:
        """Ids within bounds, newest first."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("find_runs_between", low=low, high=high, limit=limit)
        return [row["run_id"] for row in rows]

    async def page(self, wanted: RunFilter, *, before: UUID, limit: int) -> list[RunRow]:
        """Runs that are older than `before`, newest first."""
        states = wanted.states or frozenset(RunState)
        values = {
            "before": before,
            "lowest": lowest_id(wanted.since),
            "since": wanted.since or _DAWN,
            "states": sorted(states),
            "limit": limit,
        }
        if wanted.workflow:
            name = "list_runs_of_workflow"
            values["workflow"] = wanted.workflow
        else:
            name = "list_runs" if RunState.SUCCEEDED in states else "list_runs_of_states"
        async with self._database.connection(FILE) as connection:
            return [RunRow(**row) for row in await connection.rows(name, **values)]

    async def events(self, run_id: UUID, *, after: int, limit: int) -> list[EventRow]:
        """Events after a number, oldest first."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("list_run_events", run_id=run_id, after=after, limit=limit)
        return [EventRow(**row) for row in rows]

    async def logs(self, run_id: UUID, *, step: int | None, after: int, limit: int) -> list[LogRow]:
        """Lines after a number, oldest first; of one step, or of all."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows(
                "list_run_logs", run_id=run_id, step=-1 if step is None else step, after=after, limit=limit
            )
        return [LogRow(**row) for row in rows]


def lowest_id(since: datetime | None) -> UUID:
    """A bound that lets the database skip most of the history; `created_at` decides exactly."""
    if since is None:
        return UUID(int=0)
    milliseconds = int((since - _CLOCK_SKEW).timestamp() * 1000)
    return first_uuid7_at(min(max(milliseconds, 0), (1 << 48) - 1))
