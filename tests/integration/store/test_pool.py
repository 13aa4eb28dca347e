"""The pool gives every caller a clean connection, whatever the last one did with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from taskforge.domain.errors import Unavailable
from taskforge.runtime.ids import new_id
from taskforge.store.pool import Database as Pool
from taskforge.store.queries import load
from tests.support.postgres import Database, PostgresCluster

FILE = "deliveries"

_STORED = load(FILE)["store_deliveries"].parameters


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """A pool of one connection: everybody gets the same."""
    pool = Pool(database.url_for("ingest"), size=1)
    yield pool
    await pool.close()


async def _accept(pool: Pool) -> int:
    async with pool.connection(FILE) as connection:
        return await connection.run("accept_deliveries", delivery_ids=[new_id()])


async def test_a_block_that_raises_leaves_no_transaction_behind(pool: Pool) -> None:
    with pytest.raises(asyncpg.NotNullViolationError):
        async with pool.transaction(FILE) as connection:
            await connection.rows("store_deliveries", **{name: [None] for name in _STORED})
    assert await _accept(pool) == 0


async def test_a_block_that_is_cancelled_leaves_no_transaction_behind(pool: Pool) -> None:
    begun = asyncio.Event()

    async def never_ends() -> None:
        async with pool.transaction(FILE) as connection:
            await connection.run("accept_deliveries", delivery_ids=[new_id()])
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ends())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await _accept(pool) == 0


async def test_a_server_that_is_away_is_unavailable_and_found_again(own_cluster: PostgresCluster) -> None:
    async with own_cluster.database() as database:
        pool = Pool(database.url_for("ingest"))
        assert await _accept(pool) == 0
        await asyncio.to_thread(own_cluster.stop)
        with pytest.raises(Unavailable) as caught:
            await _accept(pool)
        assert caught.value.reason == "STORE_UNAVAILABLE"
        await asyncio.to_thread(own_cluster.start)
        assert await _accept(pool) == 0
        await pool.close()


@pytest.fixture
def own_cluster(folder: Path) -> Iterator[PostgresCluster]:
    """A server of the test's own, which it may stop."""
    cluster = PostgresCluster(folder)
    cluster.start()
    cluster.migrate()
    yield cluster
    cluster.stop()
