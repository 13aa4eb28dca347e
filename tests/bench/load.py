"""Sends requests over lines: as fast as they are answered, or at a rate that asks nobody."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.http1 import Answer
from tests.bench.lines import Line

_TICK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Reply:
    """A request's way. Times are seconds since the epoch: the database has the same clock."""

    asked: float  #: when it was sent; at a rate: when it should have been, however busy the lines were
    answered: float
    answer: Answer


async def as_fast_as_answered(lines: Sequence[Line], contents: Iterable[Any]) -> list[Reply]:
    """Send everything; each line sends its next request when the last was answered.

    Raises:
        AssertionError: something was answered with another status than 200.
    """
    load = _Load(lines, expect=200)
    load.waiting.extend((None, content) for content in contents)
    load.send()
    return await load.finished()


async def at_rate(lines: Sequence[Line], content: Any, rate: float, seconds: float) -> list[Reply]:
    """Send the same request at a rate for a while, whatever becomes of the others, and wait for the answers."""
    load = _Load(lines)
    began, sent, wanted = time.time(), 0, round(rate * seconds)
    while sent < wanted:
        await asyncio.sleep(_TICK_SECONDS)
        due = min(wanted, int((time.time() - began) * rate))
        load.waiting.extend((began + number / rate, content) for number in range(sent, due))
        sent = due
        load.send()
    return await load.finished()


class _Load:
    def __init__(self, lines: Sequence[Line], expect: int | None = None) -> None:
        self.waiting: deque[tuple[float | None, Any]] = deque()  #: what is to be sent, and when it should have been
        self._idle = list(lines)
        self._lines = len(self._idle)
        self._replies: list[Reply] = []
        self._expect = expect
        self._rest: asyncio.Future[None] | None = None
        self._error: AssertionError | None = None

    def send(self) -> None:
        """Use what is idle."""
        while self.waiting and self._idle:
            self._send_on(self._idle.pop())

    async def finished(self) -> list[Reply]:
        """Wait for every answer, and return them in the order in which they came."""
        if self.waiting or len(self._idle) < self._lines:
            self._rest = asyncio.get_running_loop().create_future()
            await self._rest
        if self._error is not None:
            raise self._error
        return self._replies

    def _send_on(self, line: Line) -> None:
        asked, content = self.waiting.popleft()
        sent = time.time() if asked is None else asked

        def done(answer: Answer) -> None:
            self._replies.append(Reply(sent, time.time(), answer))
            if self._expect is not None and answer.status != self._expect:
                self._error = AssertionError(f"it was answered with {answer.status}: {answer.body[:200]!r}")
                self.waiting.clear()
            if self.waiting:
                self._send_on(line)
            else:
                self._idle.append(line)
                self._come_to_rest()

        line.send(content, done)

    def _come_to_rest(self) -> None:
        if self._rest is not None and len(self._idle) == self._lines and not self._rest.done():
            self._rest.set_result(None)
