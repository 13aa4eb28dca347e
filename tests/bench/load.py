"""Sends requests over lines: as fast as they are answered, or at a rate that asks nobody."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench.http1 import Answer
from tests.bench.lines import Line

_TICK_SECONDS = 0.001
_GAVE_UP = Answer(0, b"no line was free in time")


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


async def at_rate(
    lines: Sequence[Line], contents: Sequence[Any], rate: float, *, patience: float = math.inf
) -> list[Reply]:
    """Send everything at a rate, whatever becomes of what was sent before, and wait for the answers.

    A request that finds all lines busy waits for one, up to `patience` seconds; then its answer has the status 0.
    """
    load = _Load(lines, patience=patience)
    began, sent = time.time(), 0
    while sent < len(contents):
        due = min(len(contents), 1 + int((time.time() - began) * rate))
        load.waiting.extend((began + number / rate, contents[number]) for number in range(sent, due))
        sent = due
        load.send()
        await asyncio.sleep(_TICK_SECONDS)
    return await load.finished()


class _Load:
    def __init__(self, lines: Sequence[Line], expect: int | None = None, patience: float = math.inf) -> None:
        self.waiting: deque[tuple[float | None, Any]] = deque()  #: what is to be sent, and when it should have been
        self._idle = list(lines)
        self._lines = len(self._idle)
        self._replies: list[Reply] = []
        self._expect = expect
        self._patience = patience
        self._rest: asyncio.Future[None] | None = None
        self._error: AssertionError | None = None

    def send(self) -> None:
        """Use what is idle."""
        while self.waiting and self._idle:
            self._use(self._idle.pop())

    async def finished(self) -> list[Reply]:
        """Wait for every answer, and return them in the order in which they came."""
        if self.waiting or len(self._idle) < self._lines:
            self._rest = asyncio.get_running_loop().create_future()
            await self._rest
        if self._error is not None:
            raise self._error
        return self._replies

    def _use(self, line: Line) -> None:
        """Send what has waited the longest, or let the line rest."""
        while self.waiting:
            asked, content = self.waiting.popleft()
            now = time.time()
            if asked is not None and now - asked > self._patience:
                self._replies.append(Reply(asked, now, _GAVE_UP))
                continue
            line.send(content, partial(self._answered, line, now if asked is None else asked))
            return
        self._idle.append(line)
        if self._rest is not None and len(self._idle) == self._lines and not self._rest.done():
            self._rest.set_result(None)

    def _answered(self, line: Line, asked: float, answer: Answer) -> None:
        self._replies.append(Reply(asked, time.time(), answer))
        if self._expect is not None and answer.status != self._expect:
            self._error = AssertionError(f"it was answered with {answer.status}: {answer.body[:200]!r}")
            self.waiting.clear()
        self._use(line)
