"""Leases held here, and how their work is interrupted."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from taskforge.executor.holdings import Holding, Holdings, Interrupted, Signal
from taskforge.executor.scheduler_client import ANSWER_SECONDS
from taskforge.internal.v1 import scheduler_service_pb2 as pb


def grant(step: int = 0, token: int = 1, lease_seconds: float = 30.0) -> pb.Grant:
    lease = pb.Lease(run_id=b"\x01" * 16, step=step, token=token)
    return pb.Grant(lease=lease, lease_milliseconds=int(lease_seconds * 1000))


def held(one: pb.Grant) -> Holding:
    return Holding(one, asked_at=monotonic())


async def work(holding: Holding, begun: asyncio.Event) -> str:
    try:
        with holding.interruptible():
            begun.set()
            await asyncio.Event().wait()
    except Interrupted as interrupted:
        await asyncio.sleep(0)  # what follows an interruption may wait again
        return interrupted.signal.name
    return "ended"


async def at_work(holding: Holding) -> asyncio.Task[str]:
    begun = asyncio.Event()
    task = asyncio.create_task(work(holding, begun))
    holding.task = task  # type: ignore[assignment]
    await begun.wait()
    return task


@pytest.mark.parametrize("signal", list(Signal))
async def test_work_is_interrupted_with_the_reason(signal: Signal) -> None:
    holding = held(grant())
    task = await at_work(holding)
    holding.interrupt(signal)
    assert await task == signal.name
    assert task.cancelling() == 0


async def test_an_interruption_between_interruptible_parts_waits_for_the_next_one() -> None:
    holding = held(grant())
    holding.interrupt(Signal.STOP)
    assert await work(holding, asyncio.Event()) == "STOP"


async def test_a_higher_signal_overrules_a_lower_one_and_not_the_other_way_round() -> None:
    holding = held(grant())
    holding.interrupt(Signal.STOP)
    holding.interrupt(Signal.RELEASE)
    assert await work(holding, asyncio.Event()) == "STOP"
    holding.interrupt(Signal.LOST)
    assert await work(holding, asyncio.Event()) == "LOST"


async def test_somebody_elses_cancellation_stays_one() -> None:
    task = await at_work(held(grant()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_inside_is_still_a_deadline() -> None:
    holding = held(grant())
    with pytest.raises(TimeoutError), holding.interruptible():
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def test_a_new_lease_forgets_what_was_said_about_the_old_one_but_not_that_the_executor_leaves() -> None:
    holding = held(grant())
    holding.interrupt(Signal.LOST)
    holding.take(grant(1), asked_at=monotonic())
    assert holding.signal is None
    holding.interrupt(Signal.RELEASE)
    holding.take(grant(2), asked_at=monotonic())
    assert holding.signal is Signal.RELEASE


async def test_a_lease_is_held_once() -> None:
    holdings = Holdings()
    holding = holdings.add(grant(), asked_at=monotonic())
    assert holding is not None
    assert holdings.add(grant(), asked_at=monotonic()) is None
    assert len(holdings) == 1
    assert holdings.holds(b"\x01" * 16, 0)
    holdings.drop(holding)
    assert len(holdings) == 0
    assert not holdings.holds(b"\x01" * 16, 0)


async def test_a_newer_lease_of_the_same_step_means_that_the_older_is_lost() -> None:
    holdings = Holdings()
    old = holdings.add(grant(token=1), asked_at=monotonic())
    new = holdings.add(grant(token=2), asked_at=monotonic())
    assert old is not None
    assert new is not None
    assert old.signal is Signal.LOST
    holdings.drop(old)
    assert holdings.holds(b"\x01" * 16, 0)


async def test_a_continuation_that_another_task_holds_is_left_to_it() -> None:
    holdings = Holdings()
    one, other = holdings.add(grant(0), asked_at=monotonic()), holdings.add(grant(1), asked_at=monotonic())
    assert one is not None
    assert other is not None
    assert not holdings.move(one, grant(1), asked_at=monotonic())
    assert holdings.move(one, grant(2), asked_at=monotonic())
    assert not holdings.holds(b"\x01" * 16, 0)


async def test_shorter_leases_wake_the_heartbeat_and_ends_free_slots() -> None:
    holdings = Holdings()
    freed: list[int] = []
    holdings.when_free(lambda: freed.append(len(holdings)))
    holding = holdings.add(grant(0, lease_seconds=30), asked_at=monotonic())
    assert holdings.shortened.is_set()
    holdings.shortened.clear()
    holdings.add(grant(1, lease_seconds=30), asked_at=monotonic())
    assert not holdings.shortened.is_set()
    holdings.add(grant(2, lease_seconds=3), asked_at=monotonic())
    assert holdings.shortened.is_set()
    assert holdings.lease_seconds == 3
    assert holding is not None
    holdings.drop(holding)
    assert freed == [2]


async def test_a_lease_runs_out_by_the_clock() -> None:
    assert not held(grant(lease_seconds=30)).has_run_out
    assert held(grant(lease_seconds=-1)).has_run_out


async def test_what_has_ended_is_not_begun_again_by_an_answer_that_comes_late() -> None:
    holdings = Holdings()
    holding = holdings.add(grant(0), asked_at=monotonic())
    assert holding is not None
    holding.settled = True
    assert holdings.move(holding, grant(1), asked_at=monotonic())
    assert holdings.add(grant(0), asked_at=monotonic()) is None
    holding.settled = True
    holdings.drop(holding)
    other = holdings.add(grant(2), asked_at=monotonic())
    assert other is not None
    assert holdings.add(grant(1), asked_at=monotonic()) is None
    assert not holdings.move(other, grant(1), asked_at=monotonic())
    assert holdings.known == [other.lease]


async def test_a_later_lease_of_a_step_that_has_ended_is_another_one() -> None:
    holdings = Holdings()
    old, new = holdings.add(grant(token=1), asked_at=monotonic()), holdings.add(grant(token=2), asked_at=monotonic())
    assert old is not None
    assert new is not None
    holdings.drop(new)
    holdings.drop(old)  # it ends after the one that took its place, which is not forgotten for that
    assert holdings.add(grant(token=2), asked_at=monotonic()) is None
    assert holdings.add(grant(token=3), asked_at=monotonic()) is not None


async def test_what_was_given_up_is_named_until_it_has_surely_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = monotonic()
    monkeypatch.setattr("taskforge.executor.ended.monotonic", lambda: now)
    holdings = Holdings()
    settled, given_up = holdings.add(grant(0), asked_at=monotonic()), holdings.add(grant(1), asked_at=monotonic())
    assert settled is not None
    assert given_up is not None
    settled.settled = True
    holdings.drop(settled)
    holdings.drop(given_up)
    assert holdings.known == [given_up.lease]

    now += 30 + 2 * ANSWER_SECONDS - 1
    assert holdings.known == [given_up.lease]
    assert holdings.add(grant(0), asked_at=monotonic()) is not None  # no answer takes that long
    assert holdings.add(grant(1), asked_at=monotonic()) is None
    now += 2
    assert holdings.given_up == []


async def test_a_lease_counts_from_when_it_was_asked_for() -> None:
    assert not Holding(grant(lease_seconds=30), asked_at=monotonic() - 29).has_run_out
    assert Holding(grant(lease_seconds=30), asked_at=monotonic() - 31).has_run_out
    holding = held(grant(lease_seconds=30))
    holding.renewed(asked_at=monotonic() - 31)
    assert holding.has_run_out


async def test_whoever_slept_for_longer_than_the_lease_does_not_act() -> None:
    holding = Holding(grant(lease_seconds=30), asked_at=monotonic() - 31)
    ended = []

    async def act() -> None:
        try:
            with holding.interruptible():
                await holding.about_to_act()
                ended.append("acted")
        except Interrupted as interrupted:
            ended.append(interrupted.signal.name)

    holding.task = asyncio.create_task(act())
    await holding.task
    assert ended == ["LOST"]
    assert not holding.acting
