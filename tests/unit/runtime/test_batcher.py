"""Group commit: who shares a batch, who gets which result, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from taskforge.domain.errors import NotFound, TaskforgeError, Unavailable
from taskforge.runtime.batcher import Batcher


class Recorder:
    """A flush that remembers its batches and doubles each item. A negative item is refused, zero is poison."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.error: Exception | None = None

    async def flush(self, items: Sequence[int]) -> Sequence[int | TaskforgeError]:
        self.batches.append(list(items))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if 0 in items:
            raise ValueError("poison")
        return [2 * item if item > 0 else NotFound("RUN_NOT_FOUND", str(item)) for item in items]


async def test_those_who_wait_at_the_same_time_share_a_batch() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.flush, max_items=4)
    assert await asyncio.gather(*(batcher.submit(item) for item in range(1, 10))) == list(range(2, 20, 2))
    assert recorder.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


async def test_one_who_asks_again_as_soon_as_he_is_answered_is_not_forgotten() -> None:
    """His next item comes after the worker has looked for work for the last time and before its task has ended."""
    batcher = Batcher("test", Recorder().flush)
    async with asyncio.timeout(5):
        for item in range(1, 20):
            assert await batcher.submit(item) == 2 * item


@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_many_who_ask_again_and_again_are_all_answered(concurrency: int) -> None:
    batcher = Batcher("test", Recorder().flush, concurrency=concurrency)

    async def ask() -> None:
        for item in range(1, 50):
            assert await batcher.submit(item) == 2 * item

    async with asyncio.timeout(10):
        await asyncio.gather(*(ask() for _ in range(10)))
        await batcher.drain()
    assert batcher.waiting == 0


async def test_an_item_that_is_refused_fails_alone() -> None:
    batcher = Batcher("test", Recorder().flush)
    results = await asyncio.gather(*(batcher.submit(item) for item in (1, -7, 3)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], NotFound)
    assert results[2] == 6


async def test_a_poisonous_item_is_bisected_out() -> None:
    batcher = Batcher("test", Recorder().flush)
    results = await asyncio.gather(*(batcher.submit(item) for item in (1, 2, 0, 4, 5)), return_exceptions=True)
    assert [result for result in results if not isinstance(result, Exception)] == [2, 4, 8, 10]
    assert isinstance(results[2], ValueError)


async def test_a_store_that_is_away_fails_all_and_nothing_is_tried_twice() -> None:
    recorder = Recorder()
    recorder.error = Unavailable("STORE_UNAVAILABLE", "away")
    batcher = Batcher("test", recorder.flush)
    results = await asyncio.gather(*(batcher.submit(item) for item in (1, 2, 3)), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert recorder.batches == [[1, 2, 3]]


async def test_a_caller_who_leaves_does_not_take_the_others_with_him() -> None:
    batcher = Batcher("test", Recorder().flush)
    leaving = asyncio.create_task(batcher.submit(1))
    staying = asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving
