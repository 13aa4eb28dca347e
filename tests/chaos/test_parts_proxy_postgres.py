"""The fault proxy between the store and a real PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from taskforge.domain.errors import Unavailable
from taskforge.store import pool
from tests.chaos.parts.proxy import Link, Proxy, fault_proxy
from tests.support.postgres import Database
from tests.support.waiting import eventually

_SOCKET = ".s.PGSQL.5432"
_COMMAND_SECONDS = 0.5
_LATENCY_SECONDS = 0.1


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with fault_proxy() as found:
        yield found


@pytest.fixture
def link(proxy: Proxy, folder: Path, database: Database) -> Link:
    upstream = f"unix:{database.folder / _SOCKET}"
    return proxy.open(f"{folder}", listen=f"unix:{folder / _SOCKET}", upstream=upstream, postgres=True, seed=7)


@pytest.fixture
async def store(link: Link, folder: Path, database: Database) -> AsyncIterator[pool.Database]:
    """A service's pool that reaches the server through the link, and is not patient."""
    limits = pool.Limits(connect=_COMMAND_SECONDS, acquire=2 * _COMMAND_SECONDS, command=_COMMAND_SECONDS)
    store = pool.Database(Database(name=database.name, folder=folder).url_for("gateway"), size=2, limits=limits)
    yield store
    link.heal()
    await store.close()


async def write(store: pool.Database, name: str) -> bool:
    """Whether the caller was told that it is written."""
    try:
        async with store.transaction("secrets") as connection:
            await connection.run("put_secret", name=name, version=1, sealed=b"sealed")
    except Unavailable:
        return False
    return True


async def read(database: Database) -> list[str]:
    """What is written, seen from the server's side."""
    async with database.connect() as connection:
        return [row["name"] for row in await connection.fetch("SELECT name FROM secrets ORDER BY name")]


async def test_a_commit_whose_reply_is_lost_has_happened(store: pool.Database, link: Link, database: Database) -> None:
    link.lose_commit_replies(1.0, times=1)
    assert not await write(store, "A")
    assert await read(database) == ["A"]
    assert await write(store, "B"), "the next connection is sound"
    report = link.report()
    assert (report.lost_replies, report.commits) == (1, 2)


async def test_replies_are_lost_by_chance(store: pool.Database, link: Link, database: Database) -> None:
    names = [f"S{number:03}" for number in range(60)]
    link.lose_commit_replies(0.2)
    told = [name for name in names if await write(store, name)]
    assert await read(database) == names
    assert link.report().lost_replies == len(names) - len(told) > 0


async def test_a_lost_commit_has_not_happened(store: pool.Database, link: Link, database: Database) -> None:
    link.lose_commits(1.0, times=1)
    assert not await write(store, "A")
    assert await read(database) == []
    assert link.report().lost_commits == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "57014", "55P03"])
async def test_a_failed_commit_is_rolled_back(
    sqlstate: str, store: pool.Database, link: Link, database: Database
) -> None:
    link.fail_commits(1.0, times=1, sqlstates=[sqlstate])
    with pytest.raises(Unavailable) as caught:
        async with store.transaction("secrets") as connection:
            await connection.run("put_secret", name="A", version=1, sealed=b"sealed")
    assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
    assert caught.value.__cause__.sqlstate == sqlstate
    assert await read(database) == []
    assert await write(store, "A"), "the same connection is used again"
    assert link.report().connects == 1


async def test_latency_is_that_of_every_round_trip(store: pool.Database, link: Link) -> None:
    assert await write(store, "A")
    link.latency(_LATENCY_SECONDS / 2)
    started = time.monotonic()
    async with store.connection("status") as connection:
        await connection.value("ping")
    round_trips = (time.monotonic() - started) / _LATENCY_SECONDS
    assert 1 <= round_trips < 4


async def test_a_blackhole_is_bounded_by_the_timeout_and_forgotten(
    store: pool.Database, link: Link, database: Database
) -> None:
    assert await write(store, "A")
    link.blackhole()
    started = time.monotonic()
    assert not await write(store, "B")
    assert _COMMAND_SECONDS <= time.monotonic() - started < 4 * _COMMAND_SECONDS
    link.heal()

    async def again() -> None:
        assert await write(store, "C")

    await eventually(again, within=5.0)
    assert {"A", "C"} <= set(await read(database))


async def test_a_cut_is_noticed_at_once(store: pool.Database, link: Link, database: Database) -> None:
    assert await write(store, "A")
    link.cut_after(10)
    assert not await write(store, "B")
    assert await write(store, "C")
    assert await read(database) == ["A", "C"]
    assert link.report().connects == 2


async def test_tcp_clients_may_ask_for_encryption(proxy: Proxy, link: Link, database: Database) -> None:
    upstream = f"unix:{database.folder / _SOCKET}"
    tcp = proxy.open(f"{link.name}-tcp", listen="127.0.0.1:0", upstream=upstream, postgres=True)
    connection = await asyncpg.connect(f"postgresql://postgres@{tcp.address}/{database.name}?sslmode=prefer", timeout=5)
    try:
        tcp.lose_commit_replies()
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            async with connection.transaction():
                await connection.execute("CREATE TABLE there (n int)")
        async with database.connect() as straight:
            assert await straight.fetchval("SELECT count(*) FROM there") == 0
    finally:
        connection.terminate()
