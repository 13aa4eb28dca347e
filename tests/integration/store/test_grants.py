"""One writer a table, and no role can do more than it needs."""

from __future__ import annotations

from collections import defaultdict

import asyncpg
import pytest

from tests.support.postgres import Database

_ROLES = ("taskforge_gateway", "taskforge_scheduler", "taskforge_ingest")
_WRITERS = {
    "taskforge_gateway": {"workflows", "revisions", "triggers", "secrets", "tokens", "audit"},
    "taskforge_scheduler": {
        *("runs", "steps", "attempts", "events", "logs", "idempotency_keys", "dead_letters", "schedules", "ticks"),
    },
    "taskforge_ingest": {"webhook_deliveries", "webhook_keys"},
}
_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""


async def test_every_table_has_exactly_one_writer(database: Database) -> None:
    writers: defaultdict[str, set[str]] = defaultdict(set)
    async with database.connect() as connection:
        tables = [row["relname"] for row in await connection.fetch(_TABLES)]
        for table in tables:
            for role in _ROLES:
                if await connection.fetchval(
                    "SELECT has_table_privilege($1, $2, 'INSERT, UPDATE, DELETE, TRUNCATE')", role, table
                ):
                    writers[role].add(table)
    assert dict(writers) == _WRITERS
    assert set().union(*_WRITERS.values()) == set(tables) - {"schema_migrations"}


@pytest.mark.parametrize("role", _ROLES)
async def test_a_service_owns_nothing_and_can_make_nothing(database: Database, role: str) -> None:
    async with database.connect() as connection:
        row = await connection.fetchrow(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = $1", role
        )
        assert not any(row.values())
        assert not await connection.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", role)
        owned = "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = $1"
        assert await connection.fetchval(owned, role) == 0
        granted = "SELECT count(*) FROM pg_auth_members WHERE member = $1::regrole"
        assert await connection.fetchval(granted, role) == 0


@pytest.mark.parametrize("role", _ROLES)
async def test_history_cannot_be_rewritten(database: Database, role: str) -> None:
    async with database.connect() as connection:
        for table in ("attempts", "events", "logs", "ticks", "audit", "revisions"):
            for privilege in ("UPDATE", "DELETE", "TRUNCATE"):
                question = "SELECT has_table_privilege($1, $2, $3)"
                assert not await connection.fetchval(question, role, table, privilege), (table, privilege)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ingest", "UPDATE runs SET state = 'FAILED'"),
        ("ingest", "INSERT INTO secrets (name, version, sealed) VALUES ('X', 1, '')"),
        ("ingest", "SELECT * FROM tokens"),
        ("ingest", "SELECT * FROM steps"),
        ("gateway", "UPDATE steps SET state = 'QUEUED'"),
        ("gateway", "DELETE FROM webhook_deliveries"),
        ("scheduler", "UPDATE workflows SET revision = 9"),
        ("scheduler", "SELECT * FROM tokens"),
        ("scheduler", "DELETE FROM runs"),
        ("ingest", "SELECT ensure_partitions(1)"),
        ("ingest", "CREATE TABLE mine (id integer)"),
        ("ingest", "DROP TABLE webhook_deliveries"),
    ],
)
async def test_a_service_is_refused_what_is_not_its_own(database: Database, role: str, statement: str) -> None:
    async with database.connect(role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
