"""What a link is like right now, and how long something has to wait because of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable
from enum import StrEnum

_SLICES_A_SECOND = 50  #: how finely a limited bandwidth is dealt out


class Way(StrEnum):
    """A direction."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


WAYS = {"both": frozenset(Way), "to_server": frozenset({Way.TO_SERVER}), "to_client": frozenset({Way.TO_CLIENT})}


class Conditions:
    """As made here, a link is as good as a wire. Whoever waits looks again whenever something changes."""

    def __init__(self, rng: random.Random) -> None:
        self.refusing = False
        self._rng = rng
        self._change = asyncio.Event()
        self.heal()

    def heal(self) -> None:
        """As good as a wire again."""
        self.refusing = False
        self._latency = dict.fromkeys(Way, (0.0, 0.0))
        self._silent: frozenset[Way] = frozenset()
        self._rate = math.inf  #: bytes a second, each way
        self._budget: int | None = None  #: how many bytes may pass before everything is cut
        self._sent_until = dict.fromkeys(Way, 0.0)
        self._tell()

    def delay(self, ways: frozenset[Way], seconds: float, jitter: float) -> None:
        """What passes comes out later."""
        for way in ways:
            self._latency[way] = (seconds, jitter)
        self._tell()

    def limit(self, bytes_per_second: float) -> None:
        """No more than this passes each way."""
        self._rate = bytes_per_second
        self._tell()

    def allow(self, size: int) -> None:
        """So much passes, both ways together; then everything is cut."""
        self._budget = size
        self._tell()

    def silence(self, ways: frozenset[Way]) -> None:
        """Nothing passes these ways."""
        self._silent = ways
        self._tell()

    async def not_silent(self, way: Way) -> None:
        """Wait until something may pass at all."""
        await self._until(lambda: math.inf if way in self._silent else 0.0)

    async def passage(self, way: Way, arrived: float) -> None:
        """Wait until that which arrived at a moment may come out at the other end."""
        shift = self._rng.uniform(-1.0, 1.0)

        def left() -> float:
            if way in self._silent:
                return math.inf
            seconds, jitter = self._latency[way]
            return arrived + seconds + shift * jitter - time.monotonic() if seconds or jitter else 0.0

        await self._until(left)

    async def turn(self, way: Way, size: int) -> int:
        """Wait until some of `size` bytes may pass; how many."""
        if self._rate != math.inf:
            size = max(1, min(size, int(self._rate / _SLICES_A_SECOND)))
            start = max(time.monotonic(), self._sent_until[way])
            end = self._sent_until[way] = start + size / self._rate
            await self._until(lambda: 0.0 if self._rate == math.inf else end - time.monotonic())
        await self.not_silent(way)
        return size

    def spend(self, size: int) -> tuple[int, bool]:
        """How many of these bytes are still allowed to pass, and whether everything is cut after them."""
        if self._budget is None:
            return size, False
        size, left = min(size, self._budget), self._budget - size
        self._budget = left if left > 0 else None
        return size, self._budget is None

    async def _until(self, left: Callable[[], float]) -> None:
        while (seconds := left()) > 0:
            change = self._change
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await change.wait()

    def _tell(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
