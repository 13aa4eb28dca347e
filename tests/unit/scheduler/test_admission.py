"""The limit on waiting steps holds between two looks at the database, too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from taskforge.scheduler.admission import Admission


@dataclass(frozen=True)
class Looked:
    queued: int


async def _looked(queued: int) -> Looked:
    return Looked(queued)


async def test_no_more_than_the_limit_is_taken_before_the_first_look() -> None:
    admission = Admission(10)
    assert admission.take(7) == 7
    assert admission.take(7) == 3
    assert admission.take(1) == 0


async def test_a_run_that_makes_several_steps_wait_takes_their_room() -> None:
    admission = Admission(10)
    admission.settle(admission.take(2), queued=8)
    assert admission.room == 2
    admission.settle(admission.take(2), queued=400)
    assert admission.room == 0


async def test_a_run_that_made_nothing_gives_its_room_back() -> None:
    admission = Admission(10)
    admission.settle(admission.take(4), queued=0)
    assert admission.room == 10


async def test_a_look_replaces_what_was_taken_before_it() -> None:
    admission = Admission(10)
    admission.settle(admission.take(10), queued=10)
    assert await admission.look(lambda limit: _looked(4)) == Looked(4)
    assert admission.room == 6


async def test_what_is_taken_during_a_look_or_under_way_at_its_beginning_may_not_be_in_its_count() -> None:
    admission = Admission(10)
    under_way = admission.take(3)
    counting = asyncio.Event()

    async def look(limit: int) -> Looked:
        assert limit == 10
        await counting.wait()
        return Looked(2)

    looking = asyncio.create_task(admission.look(look))
    await asyncio.sleep(0)
    admission.settle(admission.take(1), queued=1)
    counting.set()
    await looking
    assert admission.room == 10 - 2 - 3 - 1
    admission.settle(under_way, queued=3)
    assert admission.room == 4


async def test_a_look_that_fails_changes_nothing() -> None:
    admission = Admission(10)
    admission.take(10)

    async def look(limit: int) -> Looked:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await admission.look(look)
    assert admission.room == 0
