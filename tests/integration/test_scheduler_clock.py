"""The database's clock is set back: leases that last for an hour more then are not waited for, nor given again."""

from __future__ import annotations

from taskforge.runtime.ids import new_id
from tests.support.engine import Engine

ONE = """
name: demo
steps:
  - {id: only, http: {method: POST, url: "http://localhost/"}}
"""
ALICE, BOB = new_id(), new_id()


async def set_back(engine: Engine, *, hours: int = 1) -> None:
    """What the clock's own way back does to the times that are stored."""
    await engine.execute(
        "UPDATE steps SET started_at = started_at + $1::integer * interval '1 hour',"
        " lease_until = lease_until + $1::integer * interval '1 hour'",
        hours,
    )


async def test_a_lease_of_the_future_is_taken_back(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    assert len(await engine.claim(ALICE)) == 1
    await set_back(engine)
    assert await engine.sweeper.expire_leases() == 1
    assert await engine.step_states(run) == {0: "QUEUED"}
    assert len(await engine.claim(BOB)) == 1


async def test_one_that_was_renewed_since_is_left_alone(engine: Engine) -> None:
    await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await set_back(engine)
    await engine.renew(ALICE, grant.lease)
    assert await engine.sweeper.expire_leases() == 0


async def test_an_executor_that_has_forgotten_such_a_lease_does_not_get_it_again(engine: Engine) -> None:
    """It may have done the work: then giving up was all that it could do."""
    await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    assert [again.lease for again in await engine.claim(ALICE, held=[])] == [grant.lease]
    await engine.execute("UPDATE steps SET lease_until = lease_until + interval '1 hour'")
    assert await engine.claim(ALICE, held=[]) == []
