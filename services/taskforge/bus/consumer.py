"""The executor's side: read hints, forget them at once, survive whatever happens to Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ResponseError

from taskforge.bus.address import NO_REDIS
from taskforge.bus.health import EvictionWatch, Health
from taskforge.bus.link import BUS_FAILURES, Command, Link
from taskforge.bus.streams import (
    EXECUTORS,
    HINT_STREAM,
    MALFORMED,
    PAYLOAD,
    READ,
    READER,
    StepKey,
    backoff_seconds,
    decode_hint,
)
from taskforge.failpoints import Point, reach

MAX_BLOCK_MS = 1000  #: longer blocks would delay the discovery of a dead connection

_ANSWER_SECONDS = MAX_BLOCK_MS / 1000 + 2.0
_LONGEST_BACKOFF = 1.0
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED")


class Consumer(Protocol):
    """Where hints come from. No method raises."""

    @property
    def healthy(self) -> bool:
        """Whether hints arrive; if not, the reader has to poll."""

    async def read(self, count: int, block_ms: int) -> list[StepKey]:
        """Up to `count` hints; waits up to `block_ms` for the first one. Safe to cancel."""

    async def close(self) -> None:
        """Disconnect."""


class NullConsumer:
    """Without Redis there are no hints; the reader polls."""

    healthy = False

    async def read(self, count: int, block_ms: int) -> list[StepKey]:
        """Wait and return nothing."""
        await asyncio.sleep(block_ms / 1000)
        return []

    async def close(self) -> None:
        """Nothing to close."""


class HintConsumer:
    """A reader of the executors' group.

    Entries are read with NOACK and deleted by the next read: a hint is spent when it is read, whatever becomes of it,
    so nothing can be stranded in a pending list. One task at a time uses the connection and is never cancelled; a
    caller that is cancelled leaves its read to the next caller.
    """

    def __init__(self, url: str, *, stream: str = HINT_STREAM) -> None:
        self._link = Link(url, answer_seconds=_ANSWER_SECONDS)
        self._stream = stream
        self._reading: asyncio.Task[list[StepKey]] | None = None
        self._spent: list[bytes] = []
        self._failures = 0
        self._health = Health()
        self._eviction = EvictionWatch(self._link)

    @property
    def healthy(self) -> bool:
        """Whether the last read got through, from a server that keeps what it is given."""
        return bool(self._health.ok) and not self._eviction.may_evict

    async def read(self, count: int, block_ms: int) -> list[StepKey]:
        """Read hints, or take over the read that a cancelled caller left behind."""
        if self._reading is None:
            work = self._read(max(1, count), min(block_ms, MAX_BLOCK_MS))
            self._reading = asyncio.create_task(work, name="hint-consumer")
        try:
            hints = await asyncio.shield(self._reading)
        except asyncio.CancelledError:
            raise  # the read goes on, or has ended unseen: the next caller gets what it found
        except BaseException:
            self._reading = None
            raise
        self._reading = None
        return hints

    async def close(self) -> None:
        """Let a read end, delete what it read, disconnect."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=_ANSWER_SECONDS)
        with contextlib.suppress(*BUS_FAILURES):
            if self._health.ok and self._spent:
                await self._link.run(*self._deletes())
        await self._link.close()

    async def _read(self, count: int, block_ms: int) -> list[StepKey]:
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        from_group = ("XREADGROUP", "GROUP", EXECUTORS, READER, "COUNT", count, *block, "NOACK")
        try:
            if self._health.ok:
                await self._eviction.look()
            if self._spent:
                await reach(Point.BEFORE_ACK, raising=LostConnection)
            answer = await self._link.run(*self._deletes(), (*from_group, "STREAMS", self._stream, ">"))
        except ResponseError as error:
            await self._recover(error)
            return []
        except BUS_FAILURES as error:
            await self._back_off(error)
            return []
        self._failures = 0
        self._health.good()
        return self._decoded(answer)

    def _deletes(self) -> list[Command]:
        """What deletes the entries of the last read. If the trip that carries it fails, trimming removes them."""
        spent, self._spent = self._spent, []
        return [("XDEL", self._stream, *spent)] if spent else []

    def _decoded(self, answer: Any) -> list[StepKey]:
        entries: Sequence[tuple[bytes, dict[bytes, bytes] | None]] = answer[0][1] if answer else ()
        hints = []
        for entry_id, fields in entries:
            self._spent.append(entry_id)
            hint = decode_hint(fields.get(PAYLOAD) if fields else None)
            if hint is None:
                MALFORMED.inc()
            else:
                hints.append(hint)
        READ.inc(len(hints))
        return hints

    async def _recover(self, error: ResponseError) -> None:
        """Recreate a group that was flushed away; from the start, so that no hint already there is skipped."""
        if not str(error).startswith(_GROUP_IS_GONE):
            await self._back_off(error)
            return
        if self._health.ok:
            self._health.bad(error)  # what was not read is gone too: the reader had better ask elsewhere
        try:
            await self._link.run(("XGROUP CREATE", self._stream, EXECUTORS, "0", "MKSTREAM"))
        except BUS_FAILURES as failure:
            if not str(failure).startswith("BUSYGROUP"):
                await self._back_off(failure)
                return
        # The next read says whether it helped; until then repeated losses are paced like any other failure.
        self._failures += 1
        if self._failures > 1:
            await self._pause()

    async def _back_off(self, error: Exception) -> None:
        self._health.bad(error)
        self._eviction.look_again()
        self._failures += 1
        await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(backoff_seconds(self._failures, _LONGEST_BACKOFF))


def make_consumer(url: str, *, stream: str = HINT_STREAM) -> Consumer:
    """The consumer for a Redis URL, or for `none`."""
    return NullConsumer() if url == NO_REDIS else HintConsumer(url, stream=stream)
