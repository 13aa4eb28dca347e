"""Whether the database may be relied on: it keeps what it confirms, and it has the schema that this program knows."""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import structlog

from taskforge.domain.errors import Unavailable
from taskforge.store.migrate import migrations
from taskforge.store.pool import Database

FILE = "guard"
#: Sets that a service works on a database that may lose what it has confirmed.
ACCEPT = "TASKFORGE_ALLOW_UNSAFE_DATABASE"

_LOOK_SECONDS = 15.0
_MIGRATE = "run python -m taskforge.store.migrate"
_NO_SCHEMA = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError)

log = structlog.get_logger()


class Guard:
    """Looks at the database now and then and refuses one that is not as it must be: without it no service is ready."""

    def __init__(self, database: Database, *, allow_unsafe: bool) -> None:
        self._database = database
        self._allow_unsafe = allow_unsafe
        self._known = max(migration.number for migration in migrations())
        self._good_until = float("-inf")
        self._told: list[str] = []

    async def check(self) -> None:
        """Look, unless all was well a moment ago.

        Raises:
            Unavailable: there is a fault, which is in the log, or the database does not answer.
        """
        if time.monotonic() < self._good_until:
            return
        faults = await self._schema_faults()
        risks = await self._risks()
        self._tell(faults + risks)
        if faults or (risks and not self._allow_unsafe):
            raise Unavailable(
                "STORE_UNAVAILABLE", f"the database is refused: {'; '.join(faults + risks)}", retry_after=5
            )
        self._good_until = time.monotonic() + _LOOK_SECONDS

    async def _schema_faults(self) -> list[str]:
        try:
            async with self._database.connection(FILE) as connection:
                row = await connection.row("read_schema", known=self._known)
        except _NO_SCHEMA:
            return [f"its schema is older than {self._known}, which this program needs: {_MIGRATE}"]
        return schema_faults(newest=row["newest"], required=row["required"], known=self._known) if row else []

    async def _risks(self) -> list[str]:
        async with self._database.connection(FILE) as connection:
            row = await connection.row("read_settings")
        return risks(dict(row or {}))

    def _tell(self, found: list[str]) -> None:
        """Once for each change, loudly."""
        if found == self._told:
            return
        self._told = found
        if not found:
            log.info("database_trusted")
        elif self._allow_unsafe:
            log.warning("database_unsafe", faults=found, accepted_by=ACCEPT)
        else:
            log.error("database_refused", faults=found, hint=f"{ACCEPT}=1 accepts that confirmed work may be lost")


def risks(settings: dict[str, Any]) -> list[str]:
    """How these settings let the server lose what it has confirmed."""
    found = [
        f"{name} is off, so a crash of the machine may corrupt everything"
        for name in ("fsync", "full_page_writes")
        if settings[name] == "off"
    ]
    level = settings["synchronous_commit"]
    if level == "off":
        found.append("synchronous_commit is off, so a crash loses what was confirmed last")
    elif level == "local" and settings["standbys"]:
        found.append("synchronous_commit is local although there are synchronous standbys, so a failover loses commits")
    return found


def schema_faults(*, newest: int, required: int, known: int) -> list[str]:
    """Why a program that knows migrations up to `known` cannot use a schema."""
    if newest < known:
        return [f"its schema is {newest}, this program needs {known}: {_MIGRATE}"]
    if required > known:
        return [
            f"its schema is {newest}, for programs that know {required}; this one knows {known}: install a newer one"
        ]
    return []
