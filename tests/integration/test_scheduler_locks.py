"""A scheduler that stands still between its writes and their commit holds its runs, and nobody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from taskforge.domain.errors import Unavailable
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.ids import new_id
from taskforge.scheduler.completions import Report
from tests.support.engine import RESULT, Engine, stretch, succeeded
from tests.support.postgres import Database

PLAIN = """
name: demo
steps:
  - id: only
    http: {method: GET, url: "http://localhost/"}
"""
SECONDS = 2.0  #: far less than the server lets anybody wait for a lock
ALICE, BOB = new_id(), new_id()


@asynccontextmanager
async def a_scheduler_that_stands_still(database: Database, run: UUID) -> AsyncIterator[None]:
    """Its transaction holds a run's lock until the end of the block."""
    async with database.connect() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", run)
        yield


async def test_others_are_claimed_by_those_who_poll(database: Database, engine: Engine) -> None:
    revision = await engine.revision(PLAIN)
    held, free = await engine.start(revision), await engine.start(revision)
    async with a_scheduler_that_stands_still(database, held):
        started = time.monotonic()
        grants = await engine.claim(ALICE)
        assert [grant.lease.run_id for grant in grants] == [free.bytes]
        assert time.monotonic() - started < SECONDS
    [grant] = await engine.claim(ALICE)
    assert grant.lease.run_id == held.bytes


async def test_others_are_claimed_by_their_hints(database: Database, engine: Engine) -> None:
    revision = await engine.revision(PLAIN)
    held, free = await engine.start(revision), await engine.start(revision)
    async with a_scheduler_that_stands_still(database, held):
        async with asyncio.timeout(SECONDS):
            grants = await engine.claim(ALICE, (held, 0), (free, 0))
    assert [grant.lease.run_id for grant in grants] == [free.bytes]


async def test_a_run_that_is_held_for_a_moment_is_waited_for(database: Database, engine: Engine) -> None:
    run = await engine.start(await engine.revision(PLAIN))
    async with a_scheduler_that_stands_still(database, run):
        claiming = asyncio.create_task(engine.claim(ALICE, (run, 0)))
        await asyncio.sleep(0)
    assert [grant.lease.run_id for grant in await claiming] == [run.bytes]


async def test_leases_of_others_are_taken_back(database: Database, engine: Engine) -> None:
    revision = await engine.revision(PLAIN)
    held, free = await engine.start(revision), await engine.start(revision)
    await engine.claim(BOB)
    for run in (held, free):
        await engine.expire(run)
    async with a_scheduler_that_stands_still(database, held):
        async with asyncio.timeout(SECONDS):
            assert await engine.sweeper.expire_leases() == 1
    assert await engine.step_states(free) == {0: "QUEUED"}
    assert await engine.sweeper.expire_leases() == 1


async def test_results_of_others_are_taken_and_nothing_definite_is_said_of_the_held_one(
    database: Database, engine: Engine
) -> None:
    revision = await engine.revision(PLAIN)
    held, free = await engine.start(revision), await engine.start(revision)
    leases = {UUID(bytes=grant.lease.run_id): grant.lease for grant in await engine.claim(ALICE)}
    reports = [Report(executor_id=ALICE, stretch=stretch(leases[run], succeeded(0))) for run in (held, free)]
    async with a_scheduler_that_stands_still(database, held):
        async with asyncio.timeout(SECONDS):
            unknown, accepted = (await engine.completer.complete(reports)).results
    assert isinstance(unknown, Unavailable)
    assert isinstance(accepted, pb.StretchResult)
    assert accepted.kind == RESULT.KIND_ACCEPTED
    assert (await engine.report(ALICE, reports[0].stretch)).kind == RESULT.KIND_ACCEPTED
    assert await engine.run_state(held) == "SUCCEEDED"


async def test_a_result_for_a_run_that_is_not_there_is_stale_even_then(database: Database, engine: Engine) -> None:
    run = await engine.start(await engine.revision(PLAIN))
    [grant] = await engine.claim(ALICE)
    gone = pb.Lease(run_id=new_id().bytes, step=0, token=1)
    reports = [Report(executor_id=ALICE, stretch=stretch(lease, succeeded(0))) for lease in (grant.lease, gone)]
    async with a_scheduler_that_stands_still(database, run):
        unknown, stale = (await engine.completer.complete(reports)).results
    assert isinstance(unknown, Unavailable)
    assert isinstance(stale, pb.StretchResult)
    assert stale.kind == RESULT.KIND_STALE_LEASE
