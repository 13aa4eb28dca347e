"""Bring a database to the newest schema: `python -m taskforge.store.migrate`.

Numbered SQL files, forward only, each in its own transaction, recorded with a checksum. Replicas may migrate at
the same time: they take turns by polling a try-lock; waiting inside a lock would deadlock with concurrent index
builds.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import asyncpg

from taskforge.store.dsn import UrlInvalid
from taskforge.store.links import LOST, Primary

_LOCK_KEY = 7_610_001
_LOCK_POLL_SECONDS = 0.1
_CONNECT_TRIES = 60
_PASSWORDS = {
    "taskforge_gateway": "TASKFORGE_GATEWAY_DB_PASSWORD",
    "taskforge_scheduler": "TASKFORGE_SCHEDULER_DB_PASSWORD",
    "taskforge_ingest": "TASKFORGE_INGEST_DB_PASSWORD",
}
_OLDEST_PROGRAM = re.compile(r"^-- oldest program: (\d+)$", re.MULTILINE)
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(Exception):
    """The database cannot be brought to this version; the message says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def oldest_program(self) -> int | None:
        """The newest migration that a program must know to run on the schema with this one; None: this one."""
        declared = _OLDEST_PROGRAM.search(self.sql)
        return int(declared[1]) if declared else None


def migrations() -> list[Migration]:
    """All files, in order."""
    folder = resources.files("taskforge.store") / "migrations"
    found = []
    for file in folder.iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(connection: Any, passwords: Mapping[str, str] | None = None) -> list[str]:
    """Apply what is missing and return the names of what was applied.

    Args:
        connection: an asyncpg connection of a role that may create tables and roles.
        passwords: passwords to set, by role.

    Raises:
        MigrationError: an applied file was changed, or the database is too new for this program.
    """
    await _lock(connection)
    try:
        await connection.execute(_HISTORY)
        applied = {row["number"]: row for row in await connection.fetch("SELECT * FROM schema_migrations")}
        known = migrations()
        _check(known, applied)
        done = []
        for migration in known:
            if migration.number not in applied:
                await _apply(connection, migration)
                done.append(f"{migration.number:04}_{migration.name}")
        for role, password in (passwords or {}).items():
            await _set_password(connection, role, password)
        return done
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_KEY)


def _check(known: list[Migration], applied: Mapping[int, Any]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, row in applied.items():
        migration = by_number.get(number)
        if migration is None:
            if (row.get("oldest_program") or number) <= max(by_number):
                continue  # a newer program has been here, and has left room for this one
            raise MigrationError(f"the database has migration {number} ({row['name']}), which this version lacks")
        if migration.checksum != row["checksum"]:
            raise MigrationError(f"migration {number} ({row['name']}) was changed after it had been applied")


async def _apply(connection: Any, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
        if migration.oldest_program is not None:
            await connection.execute(
                "UPDATE schema_migrations SET oldest_program = $2 WHERE number = $1",
                migration.number,
                migration.oldest_program,
            )


async def _lock(connection: Any) -> None:
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):  # noqa: ASYNC110
        await asyncio.sleep(_LOCK_POLL_SECONDS)


async def _set_password(connection: Any, role: str, password: str) -> None:
    # ALTER ROLE takes no parameters; the server itself quotes the literal.
    statement = await connection.fetchval(
        "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password
    )
    await connection.execute(statement)


async def _connect(url: str) -> Any:
    primary = Primary(url)
    for attempt in range(_CONNECT_TRIES):
        try:
            return await primary.connect(url, timeout=5)
        except LOST as error:
            if isinstance(error, ValueError) or attempt == _CONNECT_TRIES - 1:
                raise MigrationError(f"the database does not answer: {error}") from error
            await asyncio.sleep(0.5)
    raise AssertionError


async def _main(url: str, passwords: Mapping[str, str]) -> list[str]:
    connection = await _connect(url)
    try:
        return await migrate(connection, passwords)
    finally:
        await connection.close()


def main() -> None:
    """Migrate the database of TASKFORGE_DATABASE_URL."""
    url = os.environ.get("TASKFORGE_DATABASE_URL", "")
    if not url:
        sys.exit("cannot migrate: TASKFORGE_DATABASE_URL is not set")
    passwords = {role: os.environ[name] for role, name in _PASSWORDS.items() if os.environ.get(name)}
    try:
        done = asyncio.run(_main(url, passwords))
    except (MigrationError, UrlInvalid, asyncpg.PostgresError) as error:
        sys.exit(f"cannot migrate: {error}")
    print("\n".join(f"applied {name}" for name in done) or "nothing to migrate")


if __name__ == "__main__":
    main()
