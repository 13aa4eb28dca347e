"""The one background loop: tick, wait, and back off when a tick fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from taskforge.domain.errors import Unavailable
from taskforge.runtime.metrics import LOOP_FAILURES
from taskforge.runtime.randomness import fraction

#: The interval of a loop that is woken when there is something to do.
SELDOM_SECONDS = 60.0

#: Short: whoever waits for the database or the bus is waited for, too, and one attempt costs little.
_MAX_BACKOFF_SECONDS = 2.0

log = structlog.get_logger()


class Loop:
    """Calls `tick` about every `interval` seconds until it is stopped. Tests call the tick itself."""

    def __init__(
        self, name: str, tick: Callable[[], Awaitable[object]], *, interval: float, jitter: float = 0.1
    ) -> None:
        self._name = name
        self._tick = tick
        self._interval = interval
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick; the first tick comes at once."""
        self._task = asyncio.create_task(self._run(), name=f"loop-{self._name}")

    def wake(self) -> None:
        """Tick again without waiting for the interval."""
        self._wake.set()

    def wake_in(self, seconds: float) -> None:
        """Tick again in so many seconds, unless that is to happen earlier anyway."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._alarm is not None:
            if self._alarm.when() <= at:
                return
            self._alarm.cancel()
        self._alarm = loop.call_at(at, self._ring)

    async def stop(self) -> None:
        """Stop between ticks; a tick that is under way is cancelled."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        failures = 0
        while True:
            self._wake.clear()  # whoever calls from now on may come too late for this tick, and gets another one
            failures = 0 if await self._try_tick() else failures + 1
            delay = self._interval if not failures else min(self._interval * 2**failures, _MAX_BACKOFF_SECONDS)
            delay *= 1 + self._jitter * fraction()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _ring(self) -> None:
        self._alarm = None
        self.wake()

    async def _try_tick(self) -> bool:
        try:
            await self._tick()
        except Unavailable as error:
            LOOP_FAILURES.labels(self._name).inc()
            log.warning("loop_tick_postponed", loop=self._name, reason=error.reason, message=error.message)
            return False
        except Exception:
            # A loop that dies is worse than a loop that is loud: whatever happened, the next tick tries again.
            LOOP_FAILURES.labels(self._name).inc()
            log.exception("loop_tick_failed", loop=self._name)
            return False
        return True
