"""Housekeeping that nobody waits for: partitions ahead of time, old idempotency keys."""

from __future__ import annotations

from taskforge.store import runs as store
from taskforge.store.pool import Database

_WEEKS_AHEAD = 2
_KEYS_PER_PASS = 1_000


class Maintenance:
    """One pass makes what will be needed and forgets what no longer is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tick(self) -> None:
        """Make partitions, then forget keys in small batches."""
        async with self._database.transaction(store.FILE) as connection:
            await connection.run("ensure_partitions", weeks=_WEEKS_AHEAD)
        while await self._forget_keys() == _KEYS_PER_PASS:
            pass

    async def _forget_keys(self) -> int:
        async with self._database.transaction(store.FILE) as connection:
            return await connection.run("forget_keys")
