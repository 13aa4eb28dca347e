"""What executors ask the scheduler for: pinned definitions and sealed secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from taskforge.store.pool import Database
from taskforge.store.runs import FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An immutable definition."""

    revision_id: UUID
    workflow: str
    number: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret that only a holder of the key ring can open."""

    name: str
    version: int
    sealed: bytes


async def read(database: Database, revision_ids: Sequence[UUID]) -> list[Revision]:
    """Read revisions; unknown ids are left out."""
    async with database.connection(FILE) as connection:
        rows = await connection.rows("read_revisions", revision_ids=list(revision_ids))
    return [Revision(**row) for row in rows]


async def read_sealed_secrets(database: Database, names: Sequence[str]) -> list[SealedSecret]:
    """Read sealed secrets; unknown names are left out."""
    async with database.connection(FILE) as connection:
        rows = await connection.rows("read_sealed_secrets", names=list(names))
    return [SealedSecret(**row) for row in rows]
