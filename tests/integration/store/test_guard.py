"""A service is ready only with a database that keeps what it confirms and has a schema that the service knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import structlog

from taskforge.domain.errors import Unavailable
from taskforge.store.guard import Guard
from taskforge.store.migrate import migrations
from taskforge.store.pool import Database as Pool
from tests.chaos.parts.postgres_node import running_node
from tests.chaos.parts.replication import DATABASE, migrated
from tests.support.places import short_folder
from tests.support.postgres import Database, PostgresCluster
from tests.support.services import Services, is_serving
from tests.support.waiting import eventually

_KNOWN = migrations()[-1].number


@asynccontextmanager
async def guarded(url: str, *, allow_unsafe: bool = False) -> AsyncIterator[Guard]:
    pool = Pool(url, size=1)
    try:
        yield Guard(pool, allow_unsafe=allow_unsafe)
    finally:
        await pool.close()


async def refusal(url: str) -> str:
    """Why the database is refused."""
    async with guarded(url) as guard:
        with pytest.raises(Unavailable, match="the database is refused") as caught:
            await guard.check()
    return caught.value.message


@pytest.fixture(scope="module")
def durable() -> Iterator[str]:
    """The scheduler's URL of a server that keeps what it confirms."""
    with short_folder() as folder, running_node(folder) as node:
        migrated(node)
        yield node.url(DATABASE, "taskforge_scheduler")


async def test_a_durable_server_is_trusted(durable: str) -> None:
    async with guarded(durable) as guard:
        await guard.check()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("synchronous_commit=off", ["synchronous_commit is off"]),
        ("synchronous_commit=remote_apply", []),
        ("synchronous_commit=local", []),
    ],
)
async def test_the_level_of_commits_counts_for_the_session(durable: str, options: str, names: list[str]) -> None:
    if names:
        told = await refusal(f"{durable}?{options}")
        assert all(name in told for name in names)
    else:
        async with guarded(f"{durable}?{options}") as guard:
            await guard.check()


async def test_a_server_that_may_lose_what_it_has_confirmed_is_refused_unless_that_is_accepted(
    database: Database,
) -> None:
    url = database.url_for("scheduler")
    told = await refusal(url)
    assert "fsync is off" in told
    assert "full_page_writes is off" in told
    async with guarded(url, allow_unsafe=True) as guard:
        with structlog.testing.capture_logs() as logs:
            await guard.check()
            await guard.check()
    assert [entry["event"] for entry in logs] == ["database_unsafe"]


@pytest.mark.parametrize("role", ["gateway", "scheduler", "ingest"])
async def test_a_database_without_a_schema_is_refused(postgres_cluster: PostgresCluster, role: str) -> None:
    async with postgres_cluster.database(template="template0") as empty:
        assert f"older than {_KNOWN}" in await refusal(empty.url_for(role))


async def _later(connection: Any, oldest_program: int | None) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum, oldest_program) VALUES (9999, 'later', '', $1)",
        oldest_program,
    )


async def test_an_older_schema_is_refused(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("DELETE FROM schema_migrations WHERE number = $1", _KNOWN)
    assert f"its schema is {_KNOWN - 1}, this program needs {_KNOWN}" in await refusal(database.url_for("ingest"))


async def test_a_newer_schema_is_refused_unless_it_says_that_this_program_may_stay(database: Database) -> None:
    async with database.connect() as connection:
        await _later(connection, None)
        assert "install a newer one" in await refusal(database.url_for("ingest"))
        await connection.execute("UPDATE schema_migrations SET oldest_program = $1 WHERE number = 9999", _KNOWN)
    async with guarded(database.url_for("ingest"), allow_unsafe=True) as guard:
        await guard.check()


@pytest.mark.parametrize("name", ["gateway", "scheduler", "ingest"])
async def test_a_service_on_an_unsafe_server_is_not_ready_and_says_why(services: Services, name: str) -> None:
    service = services.start(name, ready=False, TASKFORGE_ALLOW_UNSAFE_DATABASE="0")

    def told() -> None:
        output = service.process.output()
        assert "database_refused" in output
        assert "TASKFORGE_ALLOW_UNSAFE_DATABASE=1" in output

    await eventually(told, within=20)
    assert not is_serving(service.address)
    assert service.process.exit_code is None


async def test_an_answer_from_the_server_is_needed(database: Database) -> None:
    async with guarded(database.url_for("scheduler").replace(database.name, "nowhere")) as guard:
        with pytest.raises(Unavailable, match=asyncpg.InvalidCatalogNameError.__name__):
            await guard.check()
