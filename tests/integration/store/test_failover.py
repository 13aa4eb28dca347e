"""Failovers between two real servers: what was confirmed is there afterwards, and the pool finds its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from taskforge.domain.errors import Unavailable
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.runtime.client import Peer
from taskforge.runtime.ids import new_id
from taskforge.scheduler.starts import StartedRun
from taskforge.store.pool import Database
from tests.chaos.parts.replication import DATABASE, Pair, replicated
from tests.support.engine import Engine
from tests.support.places import short_folder
from tests.support.services import Services, is_serving
from tests.support.waiting import eventually

WORKFLOW = "name: demo\nsteps:\n  - {id: call, http: {url: 'http://localhost/'}}\n"
_AT_LEAST = 30
_RECOVERY_SECONDS = 10.0
_PUT = "INSERT INTO secrets (name, version, sealed) VALUES ('LATER', 1, '')"
_WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
_STOP_WAITING = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def _pair() -> Iterator[Pair]:
    with short_folder() as folder, replicated(folder, "remote_apply") as pair:
        yield pair


@pytest.fixture
def pair(_pair: Pair) -> Iterator[Pair]:
    """With a standby that every commit waits for."""
    if _pair.acknowledge == "async":
        _pair.be_synchronous()
    yield _pair
    _pair.cable.heal()


class Client:
    """Starts runs one after the other, as often as it must, and remembers which were confirmed."""

    def __init__(self, engine: Engine, revision: UUID) -> None:
        self._engine = engine
        self._revision = revision
        self.confirmed: list[UUID] = []
        self._task = asyncio.create_task(self._start_for_ever())

    async def has_confirmed(self, more: int) -> None:
        """Wait until so many more runs were confirmed."""
        count = len(self.confirmed) + more

        def enough() -> None:
            if self._task.done():
                self._task.result()  # whatever it died of
            assert len(self.confirmed) >= count

        await eventually(enough, within=30)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def lost(self) -> set[UUID]:
        """Confirmed runs that the database does not have."""
        rows = await self._engine.fetch("SELECT run_id FROM runs")
        return set(self.confirmed) - {row["run_id"] for row in rows}

    async def _start_for_ever(self) -> None:
        while True:
            self.confirmed.append(await eventually(partial(self._start, new_id().hex), within=30))

    async def _start(self, key: str) -> UUID:
        try:
            return await self._engine.start(self._revision, key=("demo", key))
        except Unavailable as error:
            raise AssertionError(error.message) from error


@pytest.fixture
async def engine(pair: Pair) -> AsyncIterator[Engine]:
    """A scheduler's parts that know both servers."""
    engine = Engine(pair.database)
    yield engine
    await engine.close()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Client]:
    client = Client(engine, await engine.revision(WORKFLOW))
    yield client
    await client.stop()


async def test_a_synchronous_standby_has_everything_that_was_confirmed(pair: Pair, client: Client) -> None:
    await client.has_confirmed(_AT_LEAST)
    await asyncio.to_thread(pair.fail_over)
    await client.has_confirmed(_AT_LEAST)
    await client.stop()
    assert await client.lost() == set()
    pair.rejoin()


async def test_an_asynchronous_standby_lacks_what_it_did_not_hear(pair: Pair, client: Client) -> None:
    await asyncio.to_thread(pair.be_asynchronous)
    await client.has_confirmed(1)
    pair.cable.blackhole()
    await client.has_confirmed(_AT_LEAST)
    await asyncio.to_thread(pair.fail_over)
    await client.has_confirmed(_AT_LEAST)
    await client.stop()
    assert len(await client.lost()) >= _AT_LEAST
    pair.rejoin()


async def test_a_server_that_no_longer_takes_writes_is_left_for_the_other(pair: Pair, client: Client) -> None:
    await client.has_confirmed(_AT_LEAST)
    await asyncio.to_thread(pair.part)
    await client.has_confirmed(_AT_LEAST)
    await client.stop()
    assert await client.lost() == set()
    pair.rejoin()


async def test_nothing_is_read_from_a_server_that_no_longer_takes_writes(pair: Pair) -> None:
    pool = Database(pair.database.url_for("gateway"), size=1)

    async def names() -> list[str]:
        async with pool.connection("secrets") as connection:
            return [row["name"] for row in await connection.rows("list_secrets", after="", limit=100)]

    async def names_now() -> list[str]:
        try:
            return await names()
        except Unavailable as error:
            raise AssertionError(error.message) from error

    assert "LATER" not in await names()
    await asyncio.to_thread(pair.part)
    pair.primary.sql(_PUT, database=DATABASE)
    assert "LATER" in await eventually(names_now, within=30)
    await pool.close()
    pair.rejoin()


async def test_a_commit_that_gave_up_waiting_for_the_standby_is_not_confirmed(pair: Pair, engine: Engine) -> None:
    revision = await engine.revision(WORKFLOW)
    run = engine.new_run(revision, key=("demo", new_id().hex))
    pair.cable.blackhole()
    starting = asyncio.create_task(engine.starter.start([run]))
    await eventually(lambda: _assert_one_waits(pair))
    pair.primary.sql(_STOP_WAITING)
    with pytest.raises(Unavailable):
        await starting
    # It is there all the same, so the same call again is answered from it: not before the standby has it.
    starting = asyncio.create_task(engine.starter.start([run]))
    await eventually(lambda: _assert_one_waits(pair))
    assert not starting.done()
    pair.cable.heal()
    assert (await starting)[0] == [StartedRun(run_id=run.run_id, created=False)]


async def test_a_service_serves_again_after_a_failover(pair: Pair, engine: Engine, folder: Path) -> None:
    revision = await engine.revision(WORKFLOW)
    services = Services(folder, pair.database, None)
    try:
        scheduler = services.start("scheduler", TASKFORGE_ALLOW_UNSAFE_DATABASE="0")
        start = partial(_start_by_call, services.peer("scheduler"), revision)
        before = await start()
        await asyncio.to_thread(pair.fail_over)
        after = await eventually(start, within=_RECOVERY_SECONDS)
        await eventually(lambda: _assert_serving(scheduler.address), within=_RECOVERY_SECONDS)
    finally:
        await services.close()
    rows = await engine.fetch("SELECT run_id FROM runs")
    assert {before, after} <= {row["run_id"] for row in rows}
    pair.rejoin()


async def _start_by_call(scheduler: Peer, revision: UUID) -> UUID:
    run = pb.StartRun(
        run_id=new_id().bytes,
        revision_id=revision.bytes,
        inputs_json="{}",
        trigger_json='{"type": "manual"}',
        cause_kind="manual",
    )
    start = SchedulerServiceStub(scheduler.channel).StartRuns
    try:
        answer = await scheduler.call(start, pb.StartRunsRequest(runs=[run]), timeout=5)
    except Unavailable as error:
        raise AssertionError(error.message) from error
    return UUID(bytes=answer.results[0].run_id)


def _assert_serving(address: str) -> None:
    assert is_serving(address)


def _assert_one_waits(pair: Pair) -> None:
    assert len(pair.primary.sql(_WAITING)) == 1
