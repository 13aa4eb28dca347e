"""How many rejected deliveries are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

PER_MINUTE = 10
_SECONDS = 60.0


class RejectionQuota:
    """At most so many a minute for each webhook."""

    def __init__(self, *, per_minute: int = PER_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._minute = 0.0
        self._taken: dict[UUID, int] = {}

    def take(self, trigger_id: UUID) -> bool:
        """Whether one more may be kept."""
        now = self._clock()
        if now - self._minute >= _SECONDS:
            self._minute = now
            self._taken.clear()
        count = self._taken.get(trigger_id, 0)
        if count >= self._per_minute:
            return False
        self._taken[trigger_id] = count + 1
        return True
