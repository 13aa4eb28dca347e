"""Migrating: once, in turns, and never over something that is not as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from taskforge.store.migrate import MigrationError, migrate, migrations
from tests.support.postgres import Database, PostgresCluster

_ALL = [f"{migration.number:04}_{migration.name}" for migration in migrations()]
# What a migration leaves behind, without what differs between two databases anyway.
_SCHEMA = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""


@pytest.fixture
async def empty(postgres_cluster: PostgresCluster) -> AsyncIterator[Database]:
    async with postgres_cluster.database(template="template0") as database:
        yield database


async def test_a_second_migration_has_nothing_to_do(empty: Database) -> None:
    async with empty.connect() as connection:
        assert await migrate(connection) == _ALL
        assert await migrate(connection) == []


async def test_replicas_take_turns(empty: Database) -> None:
    async def one() -> list[str]:
        async with empty.connect() as connection:
            return await migrate(connection)

    done = await asyncio.gather(*(one() for _ in range(4)))
    assert sorted(map(len, done)) == [0, 0, 0, len(_ALL)]


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE number = 2")
        with pytest.raises(MigrationError, match=r"migration 2 .* was changed"):
            await migrate(connection)


async def test_an_older_program_does_not_touch_a_newer_database(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, 'later', '')")
        with pytest.raises(MigrationError, match="which this version lacks"):
            await migrate(connection)


async def test_an_older_program_passes_by_a_database_that_still_has_room_for_it(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum, oldest_program) VALUES (9999, 'later', '', $1)",
            len(_ALL),
        )
        assert await migrate(connection) == []


async def test_what_a_migration_says_about_older_programs_is_kept(database: Database) -> None:
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT number, oldest_program FROM schema_migrations ORDER BY number")
    assert [tuple(row) for row in rows] == [(each.number, each.oldest_program) for each in migrations()]
    assert rows[4]["oldest_program"] == 4


async def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    async with empty.connect() as connection:
        # In the way of 0002, after 0001 has been applied.
        await connection.execute("CREATE TABLE runs (id integer)")
        with pytest.raises(asyncpg.DuplicateTableError):
            await migrate(connection)
        assert await connection.fetchval("SELECT max(number) FROM schema_migrations") == 1
        await connection.execute("DROP TABLE runs")
        assert await migrate(connection) == _ALL[1:]


async def test_passwords_of_roles_can_be_set_and_quoted(empty: Database) -> None:
    async with empty.connect() as connection:
        await migrate(connection, {"taskforge_ingest": "o'clock\\"})
        stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'taskforge_ingest'"
        assert (await connection.fetchval(stored)).startswith("SCRAM-SHA-256$")
        await connection.execute("ALTER ROLE taskforge_ingest PASSWORD NULL")


async def test_the_template_of_the_tests_is_what_the_migrations_make(database: Database, empty: Database) -> None:
    async with empty.connect() as fresh, database.connect() as template:
        await migrate(fresh)
        assert await fresh.fetch(_SCHEMA) == await template.fetch(_SCHEMA)
