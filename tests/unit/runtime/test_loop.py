"""A loop ticks when it is time, and when somebody says that there is something to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from taskforge.runtime.loop import Loop
from tests.support.waiting import eventually

_NEVER = 3600.0


class Ticks:
    """Counts ticks; `gate` holds one up."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def tick(self) -> None:
        self.count += 1
        await self.gate.wait()

    async def reach(self, count: int) -> None:
        async def check() -> None:
            assert self.count == count

        await eventually(check)


@asynccontextmanager
async def running(tick: Callable[[], Awaitable[object]], interval: float = _NEVER) -> AsyncIterator[Loop]:
    loop = Loop("test", tick, interval=interval)
    loop.start()
    try:
        yield loop
    finally:
        await loop.stop()


async def test_the_first_tick_comes_at_once_and_the_next_when_it_is_woken() -> None:
    ticks = Ticks()
    async with running(ticks.tick) as loop:
        await ticks.reach(1)
        loop.wake()
        await ticks.reach(2)


async def test_who_wakes_it_during_a_tick_gets_another_one() -> None:
    ticks = Ticks()
    async with running(ticks.tick) as loop:
        ticks.gate.clear()
        await ticks.reach(1)
        loop.wake()
        ticks.gate.set()
        await ticks.reach(2)


async def test_many_who_want_it_later_get_one_tick_when_the_first_of_them_does() -> None:
    ticks = Ticks()
    async with running(ticks.tick) as loop:
        await ticks.reach(1)
        loop.wake_in(_NEVER)
        for _ in range(10):
            loop.wake_in(0.02)
        loop.wake_in(_NEVER)
        await ticks.reach(2)
        await asyncio.sleep(0.1)
        assert ticks.count == 2
        loop.wake_in(0.0)
        await ticks.reach(3)


async def test_a_tick_that_fails_is_tried_again_soon() -> None:
    ticks = Ticks()

    async def fails_once() -> None:
        await ticks.tick()
        if ticks.count == 1:
            raise ValueError

    async with running(fails_once, interval=0.2):
        await ticks.reach(2)
