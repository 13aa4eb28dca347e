"""Workflows, their immutable revisions and their triggers: the gateway's side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from taskforge.domain.errors import FailedPrecondition, NotFound
from taskforge.domain.workflow import CronTrigger, JsonValue, WebhookTrigger, Workflow
from taskforge.store import audit, trigger_json
from taskforge.store.audit import AuditEntry
from taskforge.store.pool import Connection, Database
from taskforge.store.revisions import Revision

FILE = "workflows"


class Change(StrEnum):
    """What applying a definition does."""

    CREATED = "created"  # the workflow is new, or comes back after it was deleted
    UPDATED = "updated"  # it gets a new revision
    UNCHANGED = "unchanged"  # the text is that of the current revision


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrigger:
    """A trigger with the id and the path that it gets if it is new."""

    trigger_id: UUID
    path_key: str
    trigger: CronTrigger | WebhookTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDefinition:
    """A compiled definition to store, with the id that its revision gets if there is to be one."""

    workflow: Workflow
    source: str
    revision_id: UUID
    triggers: tuple[NewTrigger, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a definition did, or would do. Times are missing for what does not exist yet."""

    name: str
    change: Change
    revision_id: UUID
    revision: int
    has_new_revision: bool
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionRow:
    """A revision of a workflow that exists. `source` is empty in lists."""

    name: str
    revision_id: UUID
    number: int
    source_hash: str
    description: str
    labels: Mapping[str, str]
    created_at: datetime
    revised_at: datetime
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrigger:
    """A trigger of a current revision. `definition` is the decoded form of trigger_json.py."""

    workflow: str
    id: str
    kind: str
    path_key: str
    definition: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRevision:
    """Which revision a start gets."""

    revision_id: UUID
    revision: int


class Definitions:
    """The tables of workflows, revisions and triggers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self, new: Sequence[NewDefinition]) -> list[Applied]:
        """What `apply` would do now."""
        async with self._database.connection(FILE) as connection:
            return await _decide(connection, new)

    async def apply(self, new: Sequence[NewDefinition], *, actor: str) -> list[Applied]:
        """Store all definitions in one transaction. Their names differ. The content decides, so it may be repeated."""
        async with self._database.transaction(FILE) as connection:
            await connection.run("lock_definitions")
            decided = await _decide(connection, new)
            await _insert_revisions(connection, new, decided, actor)
            written = await _put_workflows(connection, decided)
            await _put_triggers(connection, new, decided)
            await audit.append(
                connection,
                [
                    AuditEntry(
                        actor=actor,
                        action="workflow.apply",
                        object=f"workflows/{one.name}",
                        detail={"change": one.change.value, "revision": one.revision},
                    )
                    for one in written
                    if one.change is not Change.UNCHANGED
                ],
            )
        return written

    async def delete(self, name: str, *, force: bool, actor: str) -> None:
        """Delete a workflow with its triggers; revisions and runs stay.

        Raises:
            NotFound: WORKFLOW_NOT_FOUND.
            FailedPrecondition: WORKFLOW_HAS_ACTIVE_RUNS, unless `force`.
        """
        async with self._database.transaction(FILE) as connection:
            await connection.run("lock_definitions")
            if not await connection.run("delete_workflow", name=name):
                raise workflow_not_found(name)
            if not force and await connection.value("has_active_runs", name=name):
                raise FailedPrecondition(
                    "WORKFLOW_HAS_ACTIVE_RUNS",
                    f"workflow {name} has runs that have not ended",
                    hint="cancel them or wait, or delete it with force and let them go on",
                    metadata={"workflow": name},
                )
            await connection.run("delete_stale_triggers", names=[name], workflows=[], ids=[], kinds=[])
            entry = AuditEntry(
                actor=actor, action="workflow.delete", object=f"workflows/{name}", detail={"force": force}
            )
            await audit.append(connection, [entry])

    async def get(self, name: str, number: int | None) -> DefinitionRow | None:
        """A workflow's current revision, or an earlier one; None when it is unknown or deleted."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("read_revision", name=name, number=number)
        return _definition(row) if row else None

    async def page(self, *, after: str, limit: int) -> list[DefinitionRow]:
        """Workflows by name, from the one after `after`, without their texts."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("list_workflows", after=after, limit=limit)
        return [_definition(row) for row in rows]

    async def triggers(self, names: Sequence[str]) -> Mapping[str, list[StoredTrigger]]:
        """The triggers of workflows, by workflow."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("read_triggers", names=list(names))
        found: dict[str, list[StoredTrigger]] = {}
        for row in rows:
            trigger = StoredTrigger(**{**row, "definition": json.loads(row["definition"])})
            found.setdefault(trigger.workflow, []).append(trigger)
        return found

    async def missing_secrets(self, names: Sequence[str]) -> frozenset[str]:
        """Those of the secrets that do not exist."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("find_missing_secrets", names=list(names))
        return frozenset(row["name"] for row in rows)

    async def current(self, names: Sequence[str]) -> Mapping[str, CurrentRevision]:
        """The current revisions; workflows that do not exist are left out."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("read_current", names=list(names))
        return {row["name"]: CurrentRevision(revision_id=row["revision_id"], revision=row["revision"]) for row in rows}

    async def sources(self, revision_ids: Sequence[UUID]) -> list[Revision]:
        """The texts of revisions; unknown ids are left out."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("read_sources", revision_ids=list(revision_ids))
        return [Revision(**row) for row in rows]


def workflow_not_found(name: str, number: int | None = None) -> NotFound:
    """The error for a workflow that is unknown or deleted, or has no revision with this number."""
    return NotFound(
        "WORKFLOW_NOT_FOUND",
        f"there is no workflow {name}" if number is None else f"there is no revision {number} of a workflow {name}",
        hint="list what there is with: taskforge workflow list",
        metadata={"workflow": name},
    )


async def _decide(connection: Connection, new: Sequence[NewDefinition]) -> list[Applied]:
    rows = await connection.rows("read_workflows", names=[one.workflow.name for one in new])
    stored = {row["name"]: row for row in rows}
    return [_decide_one(one, stored.get(one.workflow.name)) for one in new]


def _decide_one(new: NewDefinition, row: Any | None) -> Applied:
    name = new.workflow.name
    if row is None:
        return Applied(name=name, change=Change.CREATED, revision_id=new.revision_id, revision=1, has_new_revision=True)
    same_text = row["source_hash"] == new.workflow.source_hash
    kept = Change.UNCHANGED if same_text else Change.UPDATED
    return Applied(
        name=name,
        change=Change.CREATED if row["deleted"] else kept,
        revision_id=row["revision_id"] if same_text else new.revision_id,
        revision=row["revision"] + (0 if same_text else 1),
        has_new_revision=not same_text,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def _insert_revisions(
    connection: Connection, new: Sequence[NewDefinition], decided: Sequence[Applied], actor: str
) -> None:
    fresh = [(one, made) for one, made in zip(new, decided, strict=True) if made.has_new_revision]
    if not fresh:
        return
    workflows = [one.workflow for one, _ in fresh]
    await connection.run(
        "insert_revisions",
        actor=actor,
        revision_ids=[made.revision_id for _, made in fresh],
        workflows=[workflow.name for workflow in workflows],
        numbers=[made.revision for _, made in fresh],
        sources=[one.source for one, _ in fresh],
        source_hashes=[workflow.source_hash for workflow in workflows],
        descriptions=[workflow.description for workflow in workflows],
        labels=[json.dumps(dict(workflow.labels), ensure_ascii=False) for workflow in workflows],
        secrets=[json.dumps(workflow.secrets) for workflow in workflows],
    )


async def _put_workflows(connection: Connection, decided: Sequence[Applied]) -> list[Applied]:
    changed = [one for one in decided if one.change is not Change.UNCHANGED]
    if not changed:
        return list(decided)
    rows = await connection.rows(
        "put_workflows",
        names=[one.name for one in changed],
        revision_ids=[one.revision_id for one in changed],
        revisions=[one.revision for one in changed],
    )
    times = {row["name"]: {"created_at": row["created_at"], "updated_at": row["updated_at"]} for row in rows}
    return [replace(one, **times.get(one.name, {})) for one in decided]


async def _put_triggers(connection: Connection, new: Sequence[NewDefinition], decided: Sequence[Applied]) -> None:
    rows = [
        (made.name, made.revision_id, item) for one, made in zip(new, decided, strict=True) for item in one.triggers
    ]
    workflows = [name for name, _, _ in rows]
    ids = [item.trigger.id for _, _, item in rows]
    kinds = [trigger_json.kind_of(item.trigger) for _, _, item in rows]
    await connection.run(
        "delete_stale_triggers", names=[one.name for one in decided], workflows=workflows, ids=ids, kinds=kinds
    )
    if not rows:
        return
    await connection.run(
        "put_triggers",
        trigger_ids=[item.trigger_id for _, _, item in rows],
        workflows=workflows,
        ids=ids,
        kinds=kinds,
        revision_ids=[revision_id for _, revision_id, _ in rows],
        path_keys=[item.path_key for _, _, item in rows],
        definitions=[trigger_json.to_json(item.trigger) for _, _, item in rows],
    )


def _definition(row: Any) -> DefinitionRow:
    return DefinitionRow(**{**row, "labels": json.loads(row["labels"])})
