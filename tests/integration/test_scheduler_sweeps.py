"""Sweeps race with other schedulers: what was found is looked at again under the run's lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from taskforge.runtime.ids import new_id
from taskforge.scheduler.sweeps import Found
from tests.support.engine import Engine, failed, stretch
from tests.support.postgres import Database
from tests.support.waiting import eventually

RETRIED = """
name: demo
steps:
  - id: only
    http: {method: GET, url: "http://localhost/"}
    retry: {max_attempts: 3, initial: 1h, max: 1h, on: [5xx]}
"""
ALICE = new_id()


@asynccontextmanager
async def another_scheduler(database: Database, run: UUID) -> AsyncIterator[Any]:
    """A transaction of somebody else's that holds the run; what it does is committed at the end of the block."""
    async with database.connect() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", run)
        yield connection


async def until_somebody_waits_for_a_lock(database: Database) -> None:
    async def check() -> None:
        async with database.connect() as connection:
            assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")

    await eventually(check)


async def test_a_step_that_failed_again_meanwhile_waits_for_its_whole_backoff(
    database: Database, engine: Engine
) -> None:
    run = await engine.start(await engine.revision(RETRIED))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(0, status=503)))
    await engine.execute("UPDATE steps SET due_at = clock_timestamp() - interval '1 second'")

    async with another_scheduler(database, run) as other:
        sweep = asyncio.create_task(engine.sweeper.queue_due_retries())
        await until_somebody_waits_for_a_lock(database)
        # The other one queued it, it was claimed, failed once more, and is due in an hour.
        await other.execute("UPDATE steps SET due_at = clock_timestamp() + interval '1 hour', lease_token = 2")

    assert await sweep == 0
    assert await engine.step_states(run) == {0: "RETRYING"}


async def test_a_run_that_was_retried_meanwhile_is_not_stopped(database: Database, engine: Engine) -> None:
    run = await engine.start(await engine.revision(RETRIED.replace("steps:", "timeout: 1h\nsteps:")))
    await engine.execute("UPDATE runs SET deadline_at = clock_timestamp() - interval '1 second'")

    async with another_scheduler(database, run) as other:
        sweep = asyncio.create_task(engine.sweeper.stop_overdue_runs())
        await until_somebody_waits_for_a_lock(database)
        # The other one stopped it, and somebody retried it.
        await other.execute("UPDATE runs SET deadline_at = clock_timestamp() + interval '1 hour'")

    assert await sweep == 0
    assert await engine.run_state(run) == "QUEUED"


async def test_a_lease_that_was_granted_meanwhile_is_left_alone(database: Database, engine: Engine) -> None:
    run = await engine.start(await engine.revision(RETRIED))
    await engine.claim(ALICE)
    await engine.expire(run)

    async with another_scheduler(database, run) as other:
        sweep = asyncio.create_task(engine.sweeper.expire_leases())
        await until_somebody_waits_for_a_lock(database)
        await other.execute("UPDATE steps SET lease_until = clock_timestamp() + interval '1 hour', lease_token = 2")

    assert await sweep == 0
    assert await engine.step_states(run) == {0: "RUNNING"}


async def test_a_look_finds_what_the_sweeps_would(engine: Engine) -> None:
    """Whatever it overlooks waits for a minute."""
    nothing = Found(queued=0, unheard=False, expired=False, overdue=False, retry_in=None)
    assert await engine.sweeper.look(10) == nothing

    run = await engine.start(await engine.revision(RETRIED.replace("steps:", "timeout: 1h\nsteps:")))
    assert await engine.sweeper.look(10) == replace(nothing, queued=1)
    assert (await engine.sweeper.look(0)).queued == 0

    await engine.execute("UPDATE steps SET queued_at = clock_timestamp() - interval '3 seconds'")
    assert await engine.sweeper.look(10) == replace(nothing, queued=1, unheard=True)

    assert len(await engine.claim(ALICE)) == 1
    assert await engine.sweeper.look(10) == nothing

    await engine.expire(run)
    assert await engine.sweeper.look(10) == replace(nothing, expired=True)
    assert await engine.sweeper.expire_leases() == 1
    await engine.execute("UPDATE runs SET deadline_at = clock_timestamp() - interval '1 second'")
    assert (await engine.sweeper.look(10)).overdue


async def test_a_look_says_when_the_next_retry_is_due(engine: Engine) -> None:
    await engine.start(await engine.revision(RETRIED))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(0, status=503)))
    retry_in = (await engine.sweeper.look(10)).retry_in
    assert retry_in is not None
    assert 0 < retry_in <= 3600
    await engine.execute("UPDATE steps SET due_at = clock_timestamp() - interval '1 second'")
    assert -60 < ((await engine.sweeper.look(10)).retry_in or 0) <= -1
