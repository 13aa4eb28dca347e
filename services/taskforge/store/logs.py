"""Lines that runs logged: appended by the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from taskforge.store.pool import Database
from taskforge.store.runs import FILE, of_runs

_LEVELS = frozenset({"debug", "info", "warning", "error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line. `data` is checked JSON text."""

    run_id: UUID
    step: int
    epoch: int
    attempt: int
    number: int
    level: str
    message: str
    data: str | None
    at: datetime


async def append(database: Database, lines: Sequence[LogLine]) -> None:
    """Append lines; those that exist already, and those of runs that do not exist, are left out."""
    if not lines:
        return
    async with database.transaction(FILE) as connection:
        await connection.run(
            "insert_logs",
            **of_runs([line.run_id for line in lines]),
            steps=[line.step for line in lines],
            epochs=[line.epoch for line in lines],
            attempts=[line.attempt for line in lines],
            numbers=[line.number for line in lines],
            levels=[line.level if line.level in _LEVELS else "info" for line in lines],
            messages=[line.message for line in lines],
            datas=[line.data for line in lines],
            ats=[line.at for line in lines],
        )
