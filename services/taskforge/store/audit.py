"""The audit log: who asked for what. Written in the transaction of the change where there is one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskforge.domain.workflow import JsonValue
from taskforge.store.pool import Connection, Database

FILE = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that somebody asked for. `detail` never holds a secret's value or an input."""

    actor: str
    action: str  #: such as `workflow.apply`
    object: str  #: the resource's name, such as `workflows/release-watch`
    detail: Mapping[str, JsonValue] = field(default_factory=dict)


async def append(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Append entries in the connection's transaction."""
    if not entries:
        return
    await connection.using(FILE).run(
        "append_audit",
        actors=[entry.actor for entry in entries],
        actions=[entry.action for entry in entries],
        objects=[entry.object for entry in entries],
        details=[json.dumps(dict(entry.detail), ensure_ascii=False) for entry in entries],
    )


async def record(database: Database, entry: AuditEntry) -> None:
    """Append an entry about a change that another service is about to make.

    It is written first: a change without an entry would be worse than an entry about a change that was refused.
    """
    async with database.transaction(FILE) as connection:
        await append(connection, [entry])
