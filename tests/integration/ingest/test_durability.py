"""An answer means a run, once; whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from taskforge.runtime.ids import new_id
from taskforge.store.deliveries import Content, Deliveries, NewDelivery, Verdict
from taskforge.store.pool import Database as Pool
from tests.integration.ingest.conftest import Schedulers
from tests.support.gateway import Platform
from tests.support.hooks import Sender, run_of
from tests.support.postgres import Database
from tests.support.waiting import eventually

_AGE = "UPDATE webhook_deliveries SET received_at = received_at - interval '1 minute' WHERE verdict = 'RECEIVED'"


async def test_a_hundred_senders_with_one_id_start_one_run(sender: Sender) -> None:
    answers = await asyncio.gather(*(sender.post(headers={"x-github-delivery": "same"}) for _ in range(100)))
    assert sorted(answer.verdict for answer in answers) == ["accepted"] + ["duplicate"] * 99
    assert len({answer.run for answer in answers}) == 1
    assert len(await sender.runs()) == 1
    assert len(await sender.deliveries()) == 100


async def test_many_senders_start_a_run_each(sender: Sender) -> None:
    answers = await asyncio.gather(*(sender.post(headers={"x-github-delivery": str(number)}) for number in range(200)))
    assert {answer.verdict for answer in answers} == {"accepted"}
    assert set(await sender.runs()) == {run_of(answer) for answer in answers}


async def test_without_a_scheduler_nothing_is_acknowledged_and_nothing_is_lost(
    sender: Sender, scheduler: Schedulers
) -> None:
    await scheduler.stop()
    refusal = await sender.refused(headers={"x-github-delivery": "one"})
    assert refusal.reason == "SCHEDULER_UNAVAILABLE"
    assert await sender.verdicts() == ["RECEIVED"]

    await scheduler.start()
    again = await sender.post(headers={"x-github-delivery": "one"})
    assert again.verdict == "duplicate"
    assert set(await sender.runs()) == {run_of(again)}


async def test_a_start_that_is_not_answered_keeps_nobody_from_being_stored(
    sender: Sender, scheduler: Schedulers
) -> None:
    async def stored(count: int) -> None:
        assert await sender.verdicts() == ["RECEIVED"] * count

    await scheduler.stop()
    first = asyncio.create_task(sender.refused(headers={"x-github-delivery": "one"}))
    await eventually(partial(stored, 1), within=5)
    second = asyncio.create_task(sender.refused(headers={"x-github-delivery": "two"}))
    await eventually(partial(stored, 2), within=5)
    assert not first.done()  # its start is still being tried
    assert {refusal.reason for refusal in await asyncio.gather(first, second)} == {"SCHEDULER_UNAVAILABLE"}


async def test_a_delivery_that_nobody_came_back_to_is_started_by_the_sweep(
    sender: Sender, scheduler: Schedulers
) -> None:
    await scheduler.stop()
    await sender.refused()
    await scheduler.start()
    await sender.execute(_AGE)

    async def started() -> None:
        assert await sender.verdicts() == ["ACCEPTED"]

    await eventually(started, within=15)
    [row] = await sender.deliveries()
    assert set(await sender.runs()) == {row["run_id"]}


async def test_a_run_that_was_started_before_the_crash_is_not_started_again(sender: Sender) -> None:
    answer = await sender.post()

    async def accepted() -> None:
        assert await sender.verdicts() == ["ACCEPTED"]

    await eventually(accepted)
    await sender.execute("UPDATE webhook_deliveries SET verdict = 'RECEIVED'")
    await sender.execute(_AGE)
    await eventually(accepted, within=15)
    assert set(await sender.runs()) == {run_of(answer)}


async def test_a_webhook_that_was_removed_in_between_starts_nothing(sender: Sender, scheduler: Schedulers) -> None:
    await scheduler.stop()
    await sender.refused(headers={"x-github-delivery": "one"})
    await sender.execute("DELETE FROM triggers")
    await sender.execute(_AGE)

    async def taken_back() -> None:
        assert await sender.verdicts() == ["UNPROCESSABLE"]

    await eventually(taken_back, within=15)
    [row] = await sender.deliveries()
    assert row["run_id"] is None
    assert "removed" in row["message"]


async def test_a_caller_who_goes_away_does_not_undo_what_was_begun(sender: Sender) -> None:
    call = asyncio.create_task(sender.post())
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    # Whether the request arrived is open; half of one is not.
    await sender.post()

    async def settled() -> None:
        assert set(await sender.verdicts()) == {"ACCEPTED"}

    await eventually(settled)
    rows = await sender.deliveries()
    assert {row["run_id"] for row in rows} == set(await sender.runs())


async def test_a_full_queue_is_said_and_nothing_is_kept_of_the_delivery(platform: Platform, sender: Sender) -> None:
    for _ in range(3):
        await sender.post()
    async with platform.database.connect() as connection:
        # The scheduler of these tests refuses at a thousand queued steps.
        await connection.execute(
            "INSERT INTO steps (run_id, step, state, cause, queued_at)"
            " SELECT run_id, 1 + n, 'QUEUED', 'test', now() FROM runs, generate_series(1, 400) AS n"
        )

    async def full() -> None:
        refusal = await sender.refused(headers={"x-github-delivery": str(new_id())})
        assert refusal.reason == "QUEUE_FULL"
        assert refusal.retry.retry_delay.ToTimedelta() > timedelta()

    await eventually(full, within=15)
    async with platform.database.connect() as connection:
        keys = await connection.fetch(
            "SELECT k.* FROM webhook_keys k JOIN webhook_deliveries d USING (delivery_id) WHERE d.run_id IS NULL"
        )
    assert keys == []

    async def settled() -> None:
        assert set(await sender.verdicts()) == {"ACCEPTED", "UNPROCESSABLE"}

    await eventually(settled)


@pytest.fixture
async def deliveries(database: Database) -> AsyncIterator[Deliveries]:
    pool = Pool(database.url_for("ingest"))
    yield Deliveries(pool)
    await pool.close()


def _new(trigger_id: UUID, key: str | None, *, ttl: timedelta = timedelta(hours=1)) -> NewDelivery:
    return NewDelivery(
        delivery_id=new_id(),
        trigger_id=trigger_id,
        revision_id=new_id(),
        verdict=Verdict.RECEIVED,
        content=Content(body=b"", content_type="", headers={}, query=""),
        run_id=new_id(),
        dedupe_key=key,
        ttl=ttl,
    )


async def test_within_one_batch_the_first_of_a_key_wins(deliveries: Deliveries) -> None:
    hook = new_id()
    first, second, free = _new(hook, "k"), _new(hook, "k"), _new(hook, None)
    results = await deliveries.store([first, second, free])
    assert results[0] is None
    assert results[1] is not None
    assert (results[1].delivery_id, results[1].run_id) == (first.delivery_id, first.run_id)
    assert results[2] is None


async def test_storing_the_same_deliveries_again_changes_nothing(deliveries: Deliveries) -> None:
    batch = [_new(new_id(), "k"), _new(new_id(), None)]
    assert await deliveries.store(batch) == [None, None]
    assert await deliveries.store(batch) == [None, None]


async def test_a_key_counts_only_for_its_time(deliveries: Deliveries) -> None:
    hook = new_id()
    assert await deliveries.store([_new(hook, "k", ttl=timedelta(microseconds=1))]) == [None]
    assert await deliveries.store([_new(hook, "k")]) == [None]
    assert await deliveries.store([_new(hook, "k")]) != [None]


async def test_expired_keys_are_deleted_in_small_batches(deliveries: Deliveries) -> None:
    hook = new_id()
    await deliveries.store([_new(hook, str(number), ttl=timedelta(microseconds=1)) for number in range(5)])
    await deliveries.store([_new(hook, "alive")])
    assert [await deliveries.delete_expired_keys(limit=3) for _ in range(3)] == [3, 2, 0]


async def test_a_delivery_that_is_taken_back_frees_its_key(deliveries: Deliveries) -> None:
    hook = new_id()
    first, second = _new(hook, "k"), _new(hook, "k")
    await deliveries.store([first])
    await deliveries.refuse(first.delivery_id, "no")
    assert await deliveries.store([second]) == [None]
    # Not a second time: the key belongs to another delivery now.
    await deliveries.refuse(first.delivery_id, "no")
    assert await deliveries.store([_new(hook, "k")]) != [None]
