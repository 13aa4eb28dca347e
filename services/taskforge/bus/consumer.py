"""The executor's side: read hints, forget them at once, survive whatever happens to Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from redis.exceptions import ResponseError

from taskforge.bus.streams import (
    BUS_FAILURES,
    EXECUTORS,
    HINT_STREAM,
    MALFORMED,
    NO_REDIS,
    PAYLOAD,
    READ,
    StepKey,
    backoff_seconds,
    connect,
    decode_hint,
)

MAX_BLOCK_MS = 1000  #: longer blocks would delay the discovery of a dead connection
DEAD_SECONDS = (
    120  #: a consumer that has not read for so long belongs to an executor that is gone, or is harmless to reap
)

_ANSWER_SECONDS = MAX_BLOCK_MS / 1000 + 2.0
_LONGEST_BACKOFF = 1.0
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED")

log = structlog.get_logger()


class Consumer(Protocol):
    """Where hints come from. No method raises."""

    @property
    def healthy(self) -> bool:
        """Whether hints arrive; if not, the reader has to poll."""

    async def read(self, count: int, block_ms: int) -> list[StepKey]:
        """Up to `count` hints; waits up to `block_ms` for the first one. Safe to cancel."""

    async def reap(self) -> None:
        """Remove consumers of executors that are gone."""

    async def close(self) -> None:
        """Leave the group and disconnect."""


class NullConsumer:
    """Without Redis there are no hints; the reader polls."""

    healthy = False

    async def read(self, count: int, block_ms: int) -> list[StepKey]:
        """Wait and return nothing."""
        await asyncio.sleep(block_ms / 1000)
        return []

    async def reap(self) -> None:
        """Nobody to remove."""

    async def close(self) -> None:
        """Nothing to close."""


class HintConsumer:
    """A member of the executors' group.

    Entries are read with NOACK and deleted by the next read: a hint is spent when it is read, whatever becomes of it,
    so nothing can be stranded in a pending list. One task at a time uses the connection and is never cancelled; a
    caller that is cancelled leaves its read to the next caller.
    """

    def __init__(self, url: str, name: str, *, stream: str = HINT_STREAM) -> None:
        self._client = connect(url, answer_seconds=_ANSWER_SECONDS)
        self._name = name
        self._stream = stream
        self._reading: asyncio.Task[list[StepKey]] | None = None
        self._spent: list[bytes] = []
        self._failures = 0
        self._healthy = False

    @property
    def healthy(self) -> bool:
        """Whether the last read got through."""
        return self._healthy

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

    async def reap(self) -> None:
        """Remove consumers that are idle for long and hold nothing. One that comes back is created anew by its read."""
        with contextlib.suppress(*BUS_FAILURES):
            for consumer in await self._client.xinfo_consumers(self._stream, EXECUTORS):
                name = consumer["name"].decode(errors="replace")
                if name != self._name and not consumer["pending"] and consumer["idle"] > DEAD_SECONDS * 1000:
                    await self._client.xgroup_delconsumer(self._stream, EXECUTORS, consumer["name"])

    async def close(self) -> None:
        """Let a read end, leave the group, disconnect."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=_ANSWER_SECONDS)
        with contextlib.suppress(*BUS_FAILURES):
            if self._healthy:
                await self._command_with_deletes("XGROUP", "DELCONSUMER", self._stream, EXECUTORS, self._name)
        with contextlib.suppress(*BUS_FAILURES):
            await self._client.aclose()

    async def _read(self, count: int, block_ms: int) -> list[StepKey]:
        command = ("XREADGROUP", "GROUP", EXECUTORS, self._name, "COUNT", count)
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        try:
            answer = await self._command_with_deletes(*command, *block, "NOACK", "STREAMS", self._stream, ">")
        except ResponseError as error:
            await self._recover(error)
            return []
        except BUS_FAILURES as error:
            await self._back_off(error)
            return []
        self._recovered()
        return self._decoded(answer)

    async def _command_with_deletes(self, *command: str | int) -> Any:
        """Run a command and, on the same trip before it, delete the entries of the last read."""
        pipeline = self._client.pipeline(transaction=False)
        if self._spent:
            pipeline.execute_command("XDEL", self._stream, *self._spent)
            self._spent = []  # if the trip fails, trimming removes them
        pipeline.execute_command(*command)
        answer = (await pipeline.execute(raise_on_error=False))[-1]
        if isinstance(answer, Exception):
            raise answer
        return answer

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
        try:
            await self._client.xgroup_create(self._stream, EXECUTORS, id="0", mkstream=True)
        except ResponseError as failure:
            if not str(failure).startswith("BUSYGROUP"):
                await self._back_off(failure)
                return
        except BUS_FAILURES as failure:
            await self._back_off(failure)
            return
        # The next read says whether it helped; until then repeated losses are paced like any other failure.
        self._failures += 1
        if self._failures > 1:
            await asyncio.sleep(backoff_seconds(self._failures, _LONGEST_BACKOFF))

    async def _back_off(self, error: Exception) -> None:
        if self._healthy or not self._failures:
            log.warning("hints_unavailable", error=f"{type(error).__name__}: {error}")
        self._healthy = False
        self._failures += 1
        await asyncio.sleep(backoff_seconds(self._failures, _LONGEST_BACKOFF))

    def _recovered(self) -> None:
        if not self._healthy:
            log.info("hints_available")
        self._healthy = True
        self._failures = 0


def make_consumer(url: str, name: str, *, stream: str = HINT_STREAM) -> Consumer:
    """The consumer for a Redis URL, or for `none`."""
    return NullConsumer() if url == NO_REDIS else HintConsumer(url, name, stream=stream)
