"""PostgreSQL has no connection left, no old rows to give back, or no lock to give."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from taskforge.domain.errors import Unavailable
from taskforge.store.pool import Database as Pool
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.load import Load
from tests.chaos.world.logs import Logs
from tests.chaos.world.recovery import answered_again, recovered, refused_for_now
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.stretches import leave_alone, percentile, start_waits
from tests.chaos.world.world import DATABASE, World
from tests.support.postgres import Database
from tests.support.waiting import eventually

_AT_ONCE = 4
_PAUSE = 0.05
_CONNECTIONS = "40"  #: more than the services open
_FULL_SECONDS = 6.0
_RELEASE_SECONDS = 10.0  #: after which starts are confirmed again
_QUIET_SECONDS = 5.0
_SNAPSHOT_SECONDS = 60.0
_SLOWER = 5.0  #: the waits for an executor may grow so much …
_WAIT_SECONDS = 2.0  #: … or be as long as this
_OUR_IDLE_SECONDS = 15.0  #: after which the server ends an idle transaction of a service
_LOCK_SECONDS = 20.0
_IMPATIENT = "1s"

_END_OURS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'taskforge%'"
_COUNT_OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'taskforge%'"
_DEAD_ROWS = "SELECT coalesce(sum(n_dead_tup), 0)::float8 FROM pg_stat_user_tables"
_READ = "SELECT count(*) FROM steps WHERE false"
_CHANGE = "ALTER TABLE steps ADD COLUMN chaos integer"

_Lock = Callable[[Lab, World, float], Awaitable[None]]


@experiment(
    "F22",
    "Somebody else takes every connection that PostgreSQL has",
    threshold="starts are refused, no service ends, the owner gets in; starts are confirmed 10 s after the release",
    seconds=28,
)
async def connections_are_taken(lab: Lab) -> None:
    settings = {"max_connections": _CONNECTIONS}
    async with (
        lab.world(postgres=settings) as world,
        lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load,
    ):
        await load.reached(10)
        before, logs, slowest = _starts(world), Logs(world), 0.0
        for _ in range(lab.times(5)):
            async with _all_connections(world) as taken:
                lab.injected("all connections taken")
                lab.injected("connection", len(taken))
                await refused_for_now(load)
                await asyncio.sleep(_FULL_SECONDS)
                async with world.database() as owner:
                    lab.expect(await owner.fetchval("SELECT 1") == 1, "the owner does not get in")
            slowest = max(slowest, await answered_again(load))
            await recovered(load, at_once=_AT_ONCE)
        lab.measured("slowest confirmation after the release s", slowest)
        lab.expect(slowest <= _RELEASE_SECONDS, f"a start was confirmed {slowest:.1f} s after the release")
        lab.expect(_starts(world) == before, "a service ended for want of connections")
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
        await load.finished()
        await lab.verify(world, load)


@experiment(
    "F23",
    "Somebody keeps an old snapshot open, so that no dead row can go",
    threshold="p99 of the waits for an executor within 5 times that of before, or 2 s; a service's own would be ended",
    seconds=28,
)
async def a_snapshot_is_kept(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
        await load.reached(20)
        quiet = await leave_alone(_QUIET_SECONDS)
        ours = asyncio.create_task(_our_own_snapshot(world), name="our snapshot")
        async with _snapshot(world) as holder:
            kept = await leave_alone(max(_QUIET_SECONDS, lab.scale * _SNAPSHOT_SECONDS))
            lab.injected("snapshot kept open")
            lab.measured("kept s", kept.seconds)
            async with world.database() as owner:
                lab.measured("dead rows", await owner.fetchval(_DEAD_ROWS))
            lab.expect(await holder.fetchval("SELECT 1") == 1, "the snapshot was not kept to its end")
        lab.measured("idle transaction of a service ended s", await ours)
        await load.finished()
        await lab.verify(world, load)
        before = percentile(await start_waits(load, [quiet]), 99)
        after = percentile(await start_waits(load, [kept]), 99)
        lab.measured("p99 of waits before s", before)
        lab.measured("p99 of waits meanwhile s", after)
        lab.expect(after <= max(_SLOWER * before, _WAIT_SECONDS), f"p99 grew from {before:.2f} s to {after:.2f} s")


@experiment(
    "F24",
    "Tables are locked for long, and changes of the schema wait in line before everybody else",
    threshold="a stall, and then everything goes on; a change that waits a second at most stops nobody for longer",
    seconds=36,
)
async def tables_are_locked(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
        await load.reached(10)
        logs, slowest = Logs(world), 0.0
        seconds = max(6.0, lab.scale * _LOCK_SECONDS)
        for lock in (_table_locked("runs"), _table_locked("steps"), _change_waits):
            await lock(lab, world, seconds)
            slowest = max(slowest, await recovered(load, at_once=_AT_ONCE))
        lab.measured("slowest recovery s", slowest)
        await _impatient_change(lab, world, load)
        await load.finished()
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
        await lab.verify(world, load)


@asynccontextmanager
async def _all_connections(world: World) -> AsyncIterator[list[Any]]:
    """Hold every connection that a service could have; those that the services have are ended."""
    taken: list[Any] = []
    url = _url(world)

    async def none_left() -> None:
        await owner.fetchval(_END_OURS)
        while True:
            try:
                taken.append(await asyncpg.connect(url, timeout=5))
            except asyncpg.TooManyConnectionsError:
                break
        services = await owner.fetchval(_COUNT_OURS)
        assert services == 0, f"the services have {services} connections"

    async with world.database() as owner:
        try:
            await eventually(none_left, within=RECOVERY_SECONDS)
            yield taken
        finally:
            for connection in taken:
                connection.terminate()


@asynccontextmanager
async def _snapshot(world: World) -> AsyncIterator[Any]:
    async with world.database() as holder, holder.transaction(isolation="repeatable_read", readonly=True):
        await holder.fetchval("SELECT count(*) FROM runs")
        yield holder


async def _our_own_snapshot(world: World) -> float:
    """After how many seconds the server ends a transaction that a service leaves open."""
    pool = Pool(_url(world), size=1)
    began = time.monotonic()
    try:
        async with pool.snapshot("guard") as connection:
            await connection.row("read_settings")
            await asyncio.sleep(_OUR_IDLE_SECONDS + 1.0)
            await connection.row("read_settings")
    except Unavailable:
        return time.monotonic() - began
    finally:
        await pool.close()
    raise AssertionError("a service may keep a transaction open")


def _table_locked(table: str) -> _Lock:
    async def lock(lab: Lab, world: World, seconds: float) -> None:
        async with world.database() as owner, owner.transaction():
            await owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(seconds)
        lab.injected(f"LOCK TABLE {table} for {seconds:g} s")

    return lock


async def _change_waits(lab: Lab, world: World, seconds: float) -> None:
    """A change of the schema waits for a slow reader, and everybody else for the change."""
    async with world.database() as reader, world.database() as changer:
        async with reader.transaction():
            await reader.fetchval(_READ)
            changing = asyncio.create_task(_changed(changer), name="change")
            await asyncio.sleep(seconds)
            lab.expect(not changing.done(), "the change did not wait for the reader")
        await changing
    lab.injected(f"a change that waits in line for {seconds:g} s")


async def _impatient_change(lab: Lab, world: World, load: Load) -> None:
    """A change that gives up lets the others go on while the reader is still there."""
    async with world.database() as reader, world.database() as changer, reader.transaction():
        await reader.fetchval(_READ)
        await changer.execute(f"SET lock_timeout = '{_IMPATIENT}'")
        try:
            await _changed(changer)
        except asyncpg.LockNotAvailableError:
            lab.injected(f"a change that gives up after {_IMPATIENT}")
        else:
            lab.expect(False, "the change did not wait for the reader")
        lab.measured("confirmed after a change gave up s", await answered_again(load))


async def _changed(connection: Any) -> None:
    """Change the hottest table, and take it back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(_CHANGE)
    finally:
        await transaction.rollback()


def _starts(world: World) -> dict[str, int]:
    return {name: world.keeper.members[name].starts for name in world.wiring.names()}


def _url(world: World) -> str:
    return Database(name=DATABASE, folder=world.postgres.folder).url_for("gateway")
