"""How many more steps may wait for an executor, between two looks at the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """What a look at the database has to say."""

    @property
    def queued(self) -> int:
        """How many steps wait for an executor, counted up to a limit."""


W = TypeVar("W", bound=Waiting)


class Admission:
    """Counts what was admitted since the last look, so that the limit holds between two looks too.

    A scheduler knows only of its own starts: with several, the others' are seen at the next look.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counted = 0  # at the last look
        self._unseen = 0  # admitted since that look began, or then under way: it may have missed them
        self._under_way = 0
        self._unseen_by_next: int | None = None  # the same for a look that has not ended

    @property
    def room(self) -> int:
        """How many steps may still be admitted."""
        return max(0, self._limit - self._counted - self._unseen)

    def take(self, wanted: int) -> int:
        """Admit up to `wanted` runs, one step each; returns how many. `settle` must follow."""
        taken = min(wanted, self.room)
        self._under_way += taken
        self._add(taken)
        return taken

    def settle(self, taken: int, queued: int) -> None:
        """What was taken is written: it made so many steps wait; none if it failed."""
        self._under_way -= taken
        self._add(queued - taken)

    async def look(self, look: Callable[[int], Awaitable[W]]) -> W:
        """Look how many wait, up to the limit, and at whatever else `look` looks at."""
        self._unseen_by_next = self._under_way
        try:
            found = await look(self._limit)
            self._counted, self._unseen = found.queued, self._unseen_by_next
            return found
        finally:
            self._unseen_by_next = None

    def _add(self, steps: int) -> None:
        self._unseen += steps
        if self._unseen_by_next is not None:
            self._unseen_by_next += steps
