"""Group commit: callers that wait at the same time share one batch.

A batch takes what is there. Nothing waits for company on an idle system, and on a busy one the next batch fills while
the last one is being written.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from taskforge.domain.errors import TaskforgeError, Unavailable
from taskforge.runtime.metrics import BATCH_ITEMS, BATCH_SECONDS

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Merges concurrent `submit` calls into calls of `flush`, which returns one result an item, in order.

    A result that is an exception is raised to its caller alone. When `flush` itself raises something that is not
    `Unavailable`, the batch is halved until the poisonous item fails by itself. A cancelled caller does not cancel
    the batch: its item may be written, as with any unknown outcome.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | TaskforgeError]]],
        *,
        max_items: int = 200,
        concurrency: int = 1,
    ) -> None:
        self._name = name
        self._flush = flush
        self._max_items = max_items
        self._concurrency = concurrency
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._items = BATCH_ITEMS.labels(name)
        self._seconds = BATCH_SECONDS.labels(name)

    @property
    def waiting(self) -> int:
        """How many items have not been taken into a batch yet."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """Put an item into the next batch and wait for its result."""
        return await self._put(item)

    async def submit_all(self, items: Sequence[Item]) -> list[Result | TaskforgeError]:
        """The same for many items. A refused item's error takes its result's place; surprises are raised at the end."""
        results = await asyncio.gather(*map(self._put, items), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, TaskforgeError):
                raise result
        return cast("list[Result | TaskforgeError]", results)

    def _put(self, item: Item) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._workers) < self._concurrency:
            worker = asyncio.create_task(self._work(), name=f"batch-{self._name}")
            self._workers.add(worker)
        return future

    async def drain(self) -> None:
        """Wait until everything that was submitted has been written."""
        while self._workers:
            await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._write_next()
        finally:
            # In the same step as the last look at `_waiting`: a caller that submits between that look and the end of
            # this task would count on it, and wait for ever.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _write_next(self) -> None:
        size = min(len(self._waiting), self._max_items)
        batch = [self._waiting.popleft() for _ in range(size)]
        started = time.perf_counter()
        await self._write(batch)
        self._items.observe(size)
        self._seconds.observe(time.perf_counter() - started)

    async def _write(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except Unavailable as error:
            # The store is away: that is nobody's poison, and every caller may ask again.
            _fail_all(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail_all(batch, error)
                return
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, TaskforgeError):
                    future.set_exception(result)
                else:
                    future.set_result(result)


def _fail_all(batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
