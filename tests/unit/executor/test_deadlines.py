"""Many deadlines and one timer."""

from __future__ import annotations

import asyncio
import time

import pytest

from taskforge.executor.deadlines import Deadlines


async def work(deadlines: Deadlines, limit: float, needed: float) -> str:
    try:
        with deadlines.within(limit):
            await asyncio.sleep(needed)
    except TimeoutError:
        await asyncio.sleep(0)  # what follows may wait again
        return "late"
    return "ended"


async def test_each_is_late_at_its_own_time() -> None:
    deadlines = Deadlines()
    started = time.monotonic()

    async def seconds(limit: float) -> float:
        assert await work(deadlines, limit, 60) == "late"
        return time.monotonic() - started

    for limit, taken in zip((0.2, 0.05, 0.1, 0), await asyncio.gather(*map(seconds, (0.2, 0.05, 0.1, 0))), strict=True):
        assert limit <= taken < limit + 0.05


async def test_what_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    assert await work(deadlines, 0.02, 0) == "ended"
    found = await asyncio.gather(*(work(deadlines, *times) for times in ((0.05, 60), (60, 0.1))))
    assert found == ["late", "ended"]
    await asyncio.sleep(0.05)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_timer_that_was_set_for_what_has_ended_is_set_again() -> None:
    deadlines = Deadlines()
    assert await work(deadlines, 0.05, 0) == "ended"
    assert await work(deadlines, 0.1, 60) == "late"


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(work(deadlines, 0.05, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_moment_wins() -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(work(deadlines, 0.05, 60))
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251  both happen in the loop's next turn
    asyncio.get_running_loop().call_later(0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="broken"), Deadlines().within(1):
        raise ValueError("broken")
