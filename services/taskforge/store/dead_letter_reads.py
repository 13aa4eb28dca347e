"""Dead letters as people see them: read only. The scheduler writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from taskforge.domain.states import DeadLetterState
from taskforge.store.pool import Database

FILE = "dead_letter_reads"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow:
    """A step that gave up. `error` is JSON text."""

    dead_letter_id: UUID
    run_id: UUID
    step: int
    workflow: str
    step_id: str
    state: str
    error: str
    reason: str
    attempts: int
    crashes: int
    created_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters to list. An empty `workflow` and a missing `run_id` mean any."""

    state: DeadLetterState = DeadLetterState.OPEN
    workflow: str = ""
    run_id: UUID | None = None


class DeadLetterReads:
    """Reads dead letters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, dead_letter_id: UUID) -> DeadLetterRow | None:
        """One dead letter."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("read_dead_letter", id=dead_letter_id)
        return DeadLetterRow(**row) if row else None

    async def find_between(self, low: UUID, high: UUID, *, limit: int) -> list[UUID]:
        """Ids within bounds, newest first."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("find_dead_letters_between", low=low, high=high, limit=limit)
        return [row["dead_letter_id"] for row in rows]

    async def page(self, wanted: DeadLetterFilter, *, before: UUID, limit: int) -> list[DeadLetterRow]:
        """Dead letters that are older than `before`, newest first."""
        values = {"state": wanted.state, "workflow": wanted.workflow, "run_id": wanted.run_id}
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("list_dead_letters", **values, before=before, limit=limit)
        return [DeadLetterRow(**row) for row in rows]
