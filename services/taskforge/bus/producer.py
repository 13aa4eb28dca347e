"""The scheduler's side: publish without ever waiting for Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from redis.exceptions import ResponseError

from taskforge.bus.address import NO_REDIS
from taskforge.bus.health import EvictionWatch, Health
from taskforge.bus.link import BUS_FAILURES, Command, Link
from taskforge.bus.streams import (
    DROPPED,
    EXECUTORS,
    HINT_STREAM,
    PAYLOAD,
    PUBLISHED,
    StepKey,
    backoff_seconds,
    encode_hint,
)

KEEP_SECONDS = 60  #: older hints say nothing that the scheduler's sweep has not said again

_BATCH = 100
_ANSWER_SECONDS = 1.0
_LONGEST_BACKOFF = 2.0


class Producer(Protocol):
    """Where hints go. No method raises."""

    @property
    def healthy(self) -> bool:
        """Whether the last hints got through."""

    async def start(self) -> None:
        """Begin to write in the background."""

    def publish(self, refs: Sequence[StepKey]) -> None:
        """Hint at steps that are QUEUED, after their commit. Returns at once; a hint may be dropped."""

    async def trim(self) -> None:
        """Drop hints that are too old to matter."""

    async def backlog(self) -> int | None:
        """Hints that no executor has read yet, or None if nobody can say."""

    async def close(self) -> None:
        """Write what waits, within a second or two, and disconnect."""


class NullProducer:
    """Without Redis: executors poll."""

    healthy = False

    async def start(self) -> None:
        """Nothing to start."""

    def publish(self, refs: Sequence[StepKey]) -> None:
        """Nobody to tell."""

    async def trim(self) -> None:
        """Nothing to trim."""

    async def backlog(self) -> int | None:
        """Unknown."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


class HintProducer:
    """Collects hints in a bounded queue; one task writes them, many at a time."""

    def __init__(self, url: str, *, stream: str = HINT_STREAM, max_queued: int = 10_000) -> None:
        self._link = Link(url, answer_seconds=_ANSWER_SECONDS)
        self._stream = stream
        self._max_queued = max_queued
        self._queue: deque[StepKey] = deque()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._health = Health()
        self._eviction = EvictionWatch(self._link)
        self._refused = False  # the last write was answered, with a refusal: nothing but a write says that this is over

    @property
    def healthy(self) -> bool:
        """Whether the last command got through, to a server that keeps what it is given."""
        return bool(self._health.ok) and not self._eviction.may_evict

    async def start(self) -> None:
        """Begin to write in the background."""
        self._writer = asyncio.create_task(self._write_hints(), name="hint-producer")

    def publish(self, refs: Sequence[StepKey]) -> None:
        """Queue hints; those that find no room are dropped, which the scheduler's sweep makes good."""
        room = 0 if self._closing.is_set() else self._max_queued - len(self._queue)
        if len(refs) > room:
            DROPPED.labels("queue_full").inc(len(refs) - room)
            refs = refs[:room]
        if refs:
            self._queue.extend(refs)
            self._wake.set()

    async def trim(self) -> None:
        """Drop hints older than KEEP_SECONDS, on the clock of Redis, which made their ids."""
        with contextlib.suppress(*BUS_FAILURES):
            seconds, _ = await self._link.run(("TIME",))
            oldest = f"{(int(seconds) - KEEP_SECONDS) * 1000}-0"
            await self._link.run(("XTRIM", self._stream, "MINID", "~", oldest))
            await self._eviction.look()

    async def backlog(self) -> int | None:
        """Hints that no executor has read yet; None while Redis is away or no executor has ever read."""
        try:
            groups = await self._link.run(("XINFO GROUPS", self._stream))
        except ResponseError:
            return None  # there is no stream yet
        except BUS_FAILURES as error:
            self._health.bad(error)
            return None
        if not self._refused:
            self._health.good()
        lags = [group["lag"] for group in groups if group["name"] == EXECUTORS.encode()]
        return int(lags[0]) if lags and lags[0] is not None else None

    async def close(self) -> None:
        """Write what waits, bounded by the time that one answer may take, and disconnect."""
        self._closing.set()
        self._wake.set()
        if self._writer is not None:
            _, late = await asyncio.wait([self._writer], timeout=2 * _ANSWER_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._link.close()

    async def _write_hints(self) -> None:
        failures = 0
        while not self._closing.is_set() or self._queue:
            if not self._queue:
                await self._wake.wait()
            self._wake.clear()
            if not self._queue:
                continue
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            if await self._write(batch):
                failures = 0
            elif self._closing.is_set():
                return
            else:
                failures += 1
                await self._rest(backoff_seconds(failures, _LONGEST_BACKOFF))

    async def _write(self, batch: Sequence[StepKey]) -> bool:
        commands: list[Command] = [
            ("XADD", self._stream, "*", PAYLOAD, encode_hint(run_id, step)) for run_id, step in batch
        ]
        try:
            await self._link.run(*commands)
        except BUS_FAILURES as error:
            self._refused = isinstance(error, ResponseError)
            DROPPED.labels("redis_refused" if self._refused else "redis_away").inc(len(batch))
            self._health.bad(error)
            self._eviction.look_again()
            return False
        self._refused = False
        PUBLISHED.inc(len(batch))
        self._health.good()
        return True

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def make_producer(url: str, *, stream: str = HINT_STREAM) -> Producer:
    """The producer for a Redis URL, or for `none`."""
    return NullProducer() if url == NO_REDIS else HintProducer(url, stream=stream)
