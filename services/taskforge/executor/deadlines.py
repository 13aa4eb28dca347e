"""The time of many attempts, watched with one timer.

`asyncio.timeout` makes and cancels a timer for every attempt, and hardly any of them ever goes off.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from types import TracebackType


class Deadlines:
    """Knows what has to end by when. Its timer goes off for the first of them, or before."""

    def __init__(self) -> None:
        self._watched: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off = inf

    def within(self, seconds: float) -> Deadline:
        """`with deadlines.within(seconds):` raises TimeoutError if the task is still in the block by then."""
        return Deadline(self, monotonic() + seconds)

    def add(self, deadline: Deadline) -> None:
        """Watch it."""
        self._watched.add(deadline)
        if deadline.due < self._goes_off:
            self._set_timer(deadline.due)

    def discard(self, deadline: Deadline) -> None:
        """Watch it no more. The timer stays: it would mostly be set to about the same time again."""
        self._watched.discard(deadline)

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - monotonic()), self._look)
        self._goes_off = due

    def _look(self) -> None:
        self._timer, self._goes_off = None, inf
        now = monotonic()
        for deadline in [deadline for deadline in self._watched if deadline.due <= now]:
            self._watched.discard(deadline)
            deadline.passed()
        if self._watched:
            self._set_timer(min(deadline.due for deadline in self._watched))


class Deadline:
    """One block of one task."""

    __slots__ = ("_among", "_cancelling", "_has_passed", "_task", "due")

    def __init__(self, among: Deadlines, due: float) -> None:
        self.due = due
        self._among = among
        self._has_passed = False

    def passed(self) -> None:
        """Interrupt the block."""
        self._has_passed = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task to interrupt")
        self._task = task
        self._cancelling = task.cancelling()
        self._among.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._among.discard(self)
        # Somebody else may have cancelled the task too, and then it is that which counts.
        if self._has_passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
