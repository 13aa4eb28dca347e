"""Waiting for a run to change: the database is polled, for all watchers at once, and only while there are some."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from taskforge.domain.errors import Unavailable
from taskforge.runtime.batcher import Batcher
from taskforge.store.run_reads import RunReads

_FIRST_PAUSE_SECONDS = 0.025
_GROWTH = 1.5
_LONGEST_PAUSE_SECONDS = 0.5


class Changes:
    """Tells when a run has changed: soon after its last change, and at least twice a second."""

    def __init__(self, reads: RunReads) -> None:
        self._reads = reads
        self._lookups: Batcher[UUID, int | None] = Batcher("run_sequences", self._look_up)
        self._stopping = asyncio.Event()

    async def wait(self, run_id: UUID, sequence: int) -> None:
        """Return once the run's last event has another number, or the run is gone.

        Raises:
            Unavailable: this process is stopping, or the database is away.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self._pause(pause)
            if await self._lookups.submit(run_id) != sequence:
                return
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """Send every watcher away: another gateway, or the next one, goes on."""
        self._stopping.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise Unavailable("STORE_UNAVAILABLE", "this gateway is stopping; watch the run again", retry_after=1)

    async def _look_up(self, run_ids: Sequence[UUID]) -> Sequence[int | None]:
        found = await self._reads.sequences(list(set(run_ids)))
        return [found.get(run_id) for run_id in run_ids]
