"""Secrets, sealed: the gateway's side. Values pass through here only as ciphertext."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskforge.domain.errors import FailedPrecondition, NotFound
from taskforge.store import audit
from taskforge.store.audit import AuditEntry
from taskforge.store.pool import Connection, Database

FILE = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow:
    """A secret without its value."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    used_by: tuple[str, ...] = ()  #: workflows whose current revision uses it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One version's ciphertext."""

    version: int
    content: bytes


#: Given the stored version, if any, makes the next one; None keeps what is stored.
Reseal = Callable[[Sealed | None], Sealed | None]


class Secrets:
    """The table of secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, name: str, reseal: Reseal, *, actor: str) -> SecretRow:
        """Store what `reseal` makes of the current version. Two callers take turns."""
        async with self._database.transaction(FILE) as connection:
            await connection.run("lock_secret", name=name)
            row = await connection.row("read_secret", name=name)
            fresh = reseal(Sealed(version=row["version"], content=row["sealed"]) if row else None)
            if fresh is not None:
                await connection.run("put_secret", name=name, version=fresh.version, sealed=fresh.content)
                entry = AuditEntry(
                    actor=actor, action="secret.set", object=f"secrets/{name}", detail={"version": fresh.version}
                )
                await audit.append(connection, [entry])
            return (await _with_uses(connection, await connection.rows("describe_secret", name=name)))[0]

    async def page(self, *, after: str, limit: int) -> list[SecretRow]:
        """Secrets by name, from the one after `after`."""
        async with self._database.connection(FILE) as connection:
            return await _with_uses(connection, await connection.rows("list_secrets", after=after, limit=limit))

    async def delete(self, name: str, *, force: bool, actor: str) -> None:
        """Delete a secret.

        Raises:
            NotFound: SECRET_NOT_FOUND.
            FailedPrecondition: SECRET_IN_USE, unless `force`.
        """
        async with self._database.transaction(FILE) as connection:
            await connection.run("lock_secret", name=name)
            uses = (await _uses(connection, [name])).get(name, [])
            if not await connection.run("delete_secret", name=name):
                raise NotFound("SECRET_NOT_FOUND", f"there is no secret {name}", metadata={"secret": name})
            if uses and not force:
                raise _in_use(name, uses)
            entry = AuditEntry(
                actor=actor, action="secret.delete", object=f"secrets/{name}", detail={"force": force, "used_by": uses}
            )
            await audit.append(connection, [entry])


async def _with_uses(connection: Connection, rows: Sequence[Any]) -> list[SecretRow]:
    uses = await _uses(connection, [row["name"] for row in rows])
    return [SecretRow(**row, used_by=tuple(uses.get(row["name"], ()))) for row in rows]


async def _uses(connection: Connection, names: Sequence[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    if names:
        for row in await connection.rows("find_uses", names=list(names)):
            found.setdefault(row["secret"], []).append(row["workflow"])
    return found


def _in_use(name: str, uses: Sequence[str]) -> FailedPrecondition:
    shown = ", ".join(uses[:5]) + (f" and {len(uses) - 5} more" if len(uses) > 5 else "")
    return FailedPrecondition(
        "SECRET_IN_USE",
        f"secret {name} is used by {shown}",
        hint="change these workflows first, or delete it with force",
        metadata={"secret": name, "workflows": ",".join(uses[:20])},
    )
