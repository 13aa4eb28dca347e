"""The installation at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from taskforge.store.pool import Database

FILE = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """What the database knows about the installation."""

    now: datetime
    server_version: str
    schema_version: int
    active_runs: int
    open_dead_letters: int
    queued_steps: int
    oldest_queued_seconds: float


async def read(database: Database) -> StoreStatus:
    """Count what waits. The cost follows what waits, never the history."""
    async with database.connection(FILE) as connection:
        rows = await connection.rows("read_status")
    return StoreStatus(**rows[0])
