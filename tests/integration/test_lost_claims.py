"""Answers to claims that got lost: the leases are granted again to whom they were granted, and to nobody twice."""

from __future__ import annotations

from uuid import UUID

import pytest

from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.ids import new_id
from taskforge.scheduler.claims import Claim
from tests.support.engine import RESULT, TWO, Engine, stretch, succeeded

ALICE, BOB = new_id(), new_id()


@pytest.fixture
async def run(engine: Engine) -> UUID:
    return await engine.start(await engine.revision(TWO))


async def seconds_left(engine: Engine, run: UUID) -> float:
    [row] = await engine.fetch(
        "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS left FROM steps"
        " WHERE run_id = $1 AND state = 'RUNNING'",
        run,
    )
    return float(row["left"])


async def age(engine: Engine, run: UUID) -> None:
    """Make the run's lease as old as if its executor had not renewed it for ten seconds."""
    await engine.execute(
        "UPDATE steps SET lease_until = lease_until - interval '10 seconds' WHERE run_id = $1 AND state = 'RUNNING'",
        run,
    )


async def test_a_poll_gets_back_what_a_lost_answer_granted(engine: Engine, run: UUID) -> None:
    [lost] = await engine.claim(ALICE, held=[])
    [again] = await engine.claim(ALICE, held=[])
    assert again.lease == lost.lease
    assert (again.attempt, again.inputs_json) == (lost.attempt, lost.inputs_json)
    report = stretch(again.lease, succeeded(0), accept_next=False)
    assert (await engine.report(ALICE, report)).kind == RESULT.KIND_ACCEPTED
    assert len(await engine.fetch("SELECT 1 FROM attempts WHERE run_id = $1", run)) == 1


async def test_what_is_granted_again_lasts_as_long_as_its_grant_says(engine: Engine, run: UUID) -> None:
    await engine.claim(ALICE, held=[])
    await age(engine, run)
    [again] = await engine.claim(ALICE, held=[])
    assert await seconds_left(engine, run) > again.lease_milliseconds / 1000 - 5
    await age(engine, run)
    assert len(await engine.claim(ALICE, (run, 0))) == 1  # the same by a hint
    assert await seconds_left(engine, run) > again.lease_milliseconds / 1000 - 5


async def test_what_an_executor_names_is_left_to_it_and_not_renewed(engine: Engine, run: UUID) -> None:
    [grant] = await engine.claim(ALICE, held=[])
    await age(engine, run)
    assert await engine.claim(ALICE, held=[grant.lease]) == []
    assert await seconds_left(engine, run) < engine.lease.total_seconds() - 5


async def test_nobody_gets_the_leases_of_others(engine: Engine, run: UUID) -> None:
    await engine.claim(ALICE, held=[])
    assert await engine.claim(BOB, held=[]) == []


async def test_an_executor_that_does_not_say_what_it_holds_is_granted_nothing_twice(engine: Engine, run: UUID) -> None:
    await engine.claim(ALICE)
    assert await engine.claim(ALICE) == []


async def test_a_lease_that_ran_out_is_not_granted_again(engine: Engine, run: UUID) -> None:
    [lost] = await engine.claim(ALICE, held=[])
    await engine.expire(run)
    assert await engine.claim(ALICE, held=[]) == []
    assert await engine.sweeper.expire_leases() == 1
    [fresh] = await engine.claim(ALICE, held=[])
    assert fresh.lease.token > lost.lease.token


async def test_a_continuation_whose_answer_was_lost_is_the_same_lease_by_either_way(engine: Engine, run: UUID) -> None:
    [first] = await engine.claim(ALICE, held=[])
    report = stretch(first.lease, succeeded(0))
    lost = await engine.report(ALICE, report)
    [polled] = await engine.claim(ALICE, held=[first.lease])
    asked_again = await engine.report(ALICE, report)
    assert polled.lease == lost.next.lease == asked_again.next.lease


async def test_lost_leases_share_the_limit_and_come_first(engine: Engine, run: UUID) -> None:
    [lost] = await engine.claim(ALICE, held=[], limit=1)
    await engine.start((await engine.fetch("SELECT revision_id FROM runs"))[0]["revision_id"])
    [only] = await engine.claim(ALICE, held=[], limit=1)
    assert only.lease == lost.lease
    [fresh] = await engine.claim(ALICE, held=[lost.lease], limit=1)
    assert fresh.lease.run_id != lost.lease.run_id


async def test_a_hint_and_a_poll_name_a_lost_lease_once(engine: Engine, run: UUID) -> None:
    [lost] = await engine.claim(ALICE, held=[])
    claim = Claim(executor_id=ALICE, hints=((run, 0), (run, 0)), poll=True, limit=10, held=frozenset())
    [grants] = await engine.claimer.claim([claim])
    assert [grant.lease for grant in grants] == [lost.lease]


async def test_claims_of_several_executors_in_one_batch_get_their_own_back(engine: Engine, run: UUID) -> None:
    other = await engine.start((await engine.fetch("SELECT revision_id FROM runs"))[0]["revision_id"])
    await engine.claim(ALICE, (run, 0))
    await engine.claim(BOB, (other, 0))
    claims = [
        Claim(executor_id=executor, hints=(), poll=True, limit=10, held=frozenset()) for executor in (ALICE, BOB, ALICE)
    ]
    answers = await engine.claimer.claim(claims)
    assert [[UUID(bytes=grant.lease.run_id) for grant in grants] for grants in answers] == [[run], [other], [run]]


async def test_a_lease_granted_again_can_be_renewed_and_cancelled_like_any(engine: Engine, run: UUID) -> None:
    await engine.claim(ALICE, held=[])
    [again] = await engine.claim(ALICE, held=[])
    assert await engine.renew(ALICE, again.lease) == [pb.RenewLeasesResponse.RESULT_RENEWED]
