"""Schedules and webhooks as people see them, with what became of their ticks and deliveries. Read only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from taskforge.domain.workflow import JsonValue
from taskforge.store.pool import Database

FILE = "triggers"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRow:
    """A trigger of a current revision. `definition` is the decoded form of trigger_json.py."""

    trigger_id: UUID
    workflow: str
    id: str
    path_key: str
    definition: Mapping[str, JsonValue]
    now: datetime  #: the database's time when it was read


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRow:
    """A tick of a schedule."""

    trigger_id: UUID
    nominal_at: datetime
    handled_at: datetime
    outcome: str
    run_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A request that arrived at a webhook."""

    delivery_id: UUID
    verdict: str
    run_id: UUID | None
    dedupe_key: str | None
    body_bytes: int
    message: str
    received_at: datetime


class Triggers:
    """Reads triggers, ticks and deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, kind: str, *, workflow: str, after: tuple[str, str], limit: int) -> list[TriggerRow]:
        """Triggers of a kind by workflow and id; `workflow` may be empty for all."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows(
                "list_triggers", kind=kind, only=workflow, after_workflow=after[0], after_id=after[1], limit=limit
            )
        return [_trigger(row) for row in rows]

    async def get(self, kind: str, workflow: str, trigger: str) -> TriggerRow | None:
        """One trigger."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("read_trigger", kind=kind, workflow=workflow, id=trigger)
        return _trigger(row) if row else None

    async def last_ticks(self, trigger_ids: Sequence[UUID], *, count: int) -> Mapping[UUID, list[TickRow]]:
        """The newest ticks of each schedule, newest first."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("last_ticks", trigger_ids=list(trigger_ids), count=count)
        found: dict[UUID, list[TickRow]] = {}
        for row in rows:
            found.setdefault(row["trigger_id"], []).append(TickRow(**row))
        return found

    async def deliveries(self, trigger_id: UUID, *, before: UUID, limit: int) -> list[DeliveryRow]:
        """Deliveries of a webhook that are older than `before`, newest first."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("list_deliveries", trigger_id=trigger_id, before=before, limit=limit)
        return [DeliveryRow(**row) for row in rows]


def _trigger(row: Any) -> TriggerRow:
    return TriggerRow(**{**row, "definition": json.loads(row["definition"])})
