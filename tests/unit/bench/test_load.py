"""How requests are spread over lines, and what happens when they are not answered as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.bench.http1 import Answer
from tests.bench.load import as_fast_as_answered, at_rate


class SlowLine:
    """Answers after a while with what it was asked for."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.most = 0
        self._seconds = seconds
        self._on_the_way = 0

    def send(self, content: int, done: Callable[[Answer], None]) -> None:
        self._on_the_way += 1
        self.most = max(self.most, self._on_the_way)

        def answer() -> None:
            self._on_the_way -= 1
            done(Answer(content, b""))

        asyncio.get_running_loop().call_later(self._seconds, answer)

    async def close(self) -> None:
        """Nothing to close."""


async def test_every_request_is_sent_once_and_one_at_a_time() -> None:
    lines = [SlowLine() for _ in range(3)]

    replies = await as_fast_as_answered(lines, [200] * 50)

    assert [reply.answer.status for reply in replies] == [200] * 50
    assert [line.most for line in lines] == [1, 1, 1]


async def test_an_answer_that_was_not_expected_ends_it() -> None:
    with pytest.raises(AssertionError, match="answered with 429"):
        await as_fast_as_answered([SlowLine()], [200, 429, 200])


async def test_nothing_to_send_is_nothing_to_wait_for() -> None:
    assert await as_fast_as_answered([SlowLine()], []) == []


async def test_at_a_rate_waiting_for_a_line_counts_as_waiting() -> None:
    replies = await at_rate([SlowLine(0.05)], [200] * 10, 100.0)

    assert len(replies) == 10
    # One line carries 20 a second where 100 were wanted: the last one waited for nine others.
    assert replies[-1].answered - replies[-1].asked > 0.3
    assert [round(reply.asked - replies[0].asked, 3) for reply in replies] == [number / 100 for number in range(10)]


async def test_at_a_rate_a_request_is_sent_when_it_should_be() -> None:
    replies = await at_rate([SlowLine()], [200] * 2, 2.0)

    # The line answers at once: far from an interval later, however busy the machine is.
    assert max(reply.answered - reply.asked for reply in replies) < 0.4


async def test_who_waits_for_a_line_for_too_long_gives_up() -> None:
    replies = await at_rate([SlowLine(0.05)], [200] * 10, 100.0, patience=0.02)

    statuses = [reply.answer.status for reply in replies]
    assert len(replies) == 10
    assert set(statuses) == {0, 200}
    assert max(reply.answered - reply.asked for reply in replies if reply.answer.status == 200) < 0.3
