"""Webhook deliveries: what arrived, what was decided, and the keys that make a delivery count once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from taskforge.store.pool import Connection, Database

FILE = "deliveries"

_MAX_TRANSACTION_BYTES = 16 * 1024 * 1024

_as_json = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` would make an encoder for each

Path = tuple[str, str]  #: workflow and trigger id, as in the URL
Key = tuple[UUID, str]  #: trigger and dedupe key


class Verdict(StrEnum):
    """What was decided about a delivery."""

    RECEIVED = "RECEIVED"  # durable; its run may not exist yet
    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    FILTERED = "FILTERED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNPROCESSABLE = "UNPROCESSABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret that only a holder of the key ring can open."""

    name: str
    version: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRow:
    """A webhook of a current revision. `secret` is None if it needs none, or if it is missing."""

    trigger_id: UUID
    workflow: str
    id: str
    path_key: str
    revision_id: UUID
    secret: SealedSecret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A request as it is kept. `headers` have lower-case names and hold nothing secret."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery to store. `run_id` is set for RECEIVED, `ttl` goes with `dedupe_key`."""

    delivery_id: UUID
    trigger_id: UUID
    revision_id: UUID
    verdict: Verdict
    content: Content
    run_id: UUID | None = None
    dedupe_key: str | None = None
    ttl: timedelta = timedelta()
    message: str = ""

    @property
    def key(self) -> Key | None:
        """What it is deduplicated by, if it is to start a run."""
        if self.dedupe_key is None or self.verdict is not Verdict.RECEIVED:
            return None
        return self.trigger_id, self.dedupe_key


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The delivery that came first with the same key."""

    delivery_id: UUID
    run_id: UUID | None
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery, read back. `trigger` is None when the webhook has been removed since."""

    delivery_id: UUID
    trigger_id: UUID
    revision_id: UUID
    verdict: Verdict
    run_id: UUID | None
    trigger: str | None
    received_at: datetime
    content: Content


class Deliveries:
    """The tables that ingest writes, and what it reads of the definitions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_webhooks(self, paths: Sequence[Path]) -> Mapping[Path, WebhookRow]:
        """The webhooks at these paths; what is not there is left out."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows(
                "find_webhooks", workflows=[workflow for workflow, _ in paths], ids=[trigger for _, trigger in paths]
            )
        return {(row["workflow"], row["id"]): _webhook(row) for row in rows}

    async def read_sources(self, revision_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """The texts of revisions; unknown ids are left out."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("read_revisions", revision_ids=list(revision_ids))
        return {row["revision_id"]: row["source"] for row in rows}

    async def store(self, deliveries: Sequence[NewDelivery]) -> list[First | None]:
        """Store deliveries and take their keys. For a delivery that is a duplicate, say of what.

        After Unavailable nobody can say what was stored.
        """
        duplicates: dict[UUID, First] = {}
        for chunk in _chunks(deliveries):
            stored = _ids(await self._database.write(FILE, "store_deliveries", **_values(_one_a_key(chunk))))
            late = [delivery for delivery in chunk if delivery.delivery_id not in stored]
            if late:
                async with self._database.transaction(FILE) as connection:
                    duplicates |= await _store_late(connection, late)
        return [duplicates.get(delivery.delivery_id) for delivery in deliveries]

    async def accept(self, delivery_ids: Sequence[UUID]) -> None:
        """Note that the runs of these deliveries exist."""
        async with self._database.connection(FILE) as connection:
            await connection.run("accept_deliveries", delivery_ids=list(delivery_ids))

    async def refuse(self, delivery_id: UUID, message: str) -> None:
        """Take a RECEIVED delivery back: it starts nothing, and its key is free again."""
        async with self._database.transaction(FILE) as connection:
            if await connection.run("refuse_delivery", delivery_id=delivery_id, message=message):
                await connection.run("release_key", delivery_id=delivery_id)

    async def find_unstarted(self, *, age: timedelta, limit: int) -> list[StoredDelivery]:
        """RECEIVED deliveries that are older than `age`, oldest first."""
        async with self._database.connection(FILE) as connection:
            rows = await connection.rows("find_unstarted", age=age, limit=limit)
        return [_stored(row) for row in rows]

    async def read(self, delivery_id: UUID) -> StoredDelivery | None:
        """One delivery."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("read_delivery", delivery_id=delivery_id)
        return _stored(row) if row else None

    async def delete_expired_keys(self, *, limit: int) -> int:
        """Forget keys whose time is over, at most so many; returns how many there were."""
        async with self._database.connection(FILE) as connection:
            return await connection.run("delete_expired_keys", limit=limit)


async def _store_late(connection: Connection, late: Sequence[NewDelivery]) -> Mapping[UUID, First]:
    """Store what found its key taken. Asking for the key again keeps its owner as it is until this is committed."""
    stored = _ids(await connection.rows("store_deliveries", **_values(_one_a_key(late))))
    left = [delivery for delivery in late if delivery.delivery_id not in stored]
    firsts = await _read_firsts(connection, {delivery.key for delivery in left if delivery.key})
    duplicates = {delivery.delivery_id: first for delivery in left if (first := _first_of(delivery, firsts))}
    as_known = [_as_duplicate(delivery, duplicates.get(delivery.delivery_id)) for delivery in left]
    await connection.rows("store_deliveries", **_values(as_known, with_keys=False))
    return duplicates


def _one_a_key(deliveries: Sequence[NewDelivery]) -> list[NewDelivery]:
    """Those without a key, and of those that want the same one the first."""
    return list({delivery.key or delivery.delivery_id: delivery for delivery in reversed(deliveries)}.values())


def _ids(rows: Sequence[Any]) -> set[UUID]:
    return {row["delivery_id"] for row in rows}


def _first_of(delivery: NewDelivery, firsts: Mapping[Key, First]) -> First | None:
    """What came before it. A delivery that owns the key itself was stored by this very call, sent again."""
    first = firsts.get(delivery.key) if delivery.key else None
    return None if first is None or first.delivery_id == delivery.delivery_id else first


async def _read_firsts(connection: Connection, keys: set[Key]) -> Mapping[Key, First]:
    rows = await connection.rows(
        "read_key_owners", trigger_ids=[trigger_id for trigger_id, _ in keys], keys=[key for _, key in keys]
    )
    return {
        (row["trigger_id"], row["key"]): First(
            delivery_id=row["delivery_id"], run_id=row["run_id"], verdict=Verdict(row["verdict"])
        )
        for row in rows
    }


def _as_duplicate(delivery: NewDelivery, first: First | None) -> NewDelivery:
    return replace(delivery, verdict=Verdict.DUPLICATE, run_id=first.run_id) if first else delivery


def _values(deliveries: Sequence[NewDelivery], *, with_keys: bool = True) -> dict[str, Any]:
    contents = [delivery.content for delivery in deliveries]
    keys = [delivery.key for delivery in deliveries]
    return {
        "delivery_ids": [delivery.delivery_id for delivery in deliveries],
        "trigger_ids": [delivery.trigger_id for delivery in deliveries],
        "revision_ids": [delivery.revision_id for delivery in deliveries],
        "verdicts": [delivery.verdict.value for delivery in deliveries],
        "run_ids": [delivery.run_id for delivery in deliveries],
        "dedupe_keys": [delivery.dedupe_key for delivery in deliveries],
        "wanted_keys": [key[1] if key and with_keys else None for key in keys],
        "ttls": [delivery.ttl for delivery in deliveries],
        "bodies": [content.body for content in contents],
        "content_types": [content.content_type for content in contents],
        "headers": [_as_json(dict(content.headers)) for content in contents],
        "queries": [content.query for content in contents],
        "messages": [delivery.message for delivery in deliveries],
    }


def _chunks(deliveries: Sequence[NewDelivery]) -> Iterator[list[NewDelivery]]:
    """Split a batch so that no transaction carries more than some megabytes."""
    chunk: list[NewDelivery] = []
    size = 0
    for delivery in deliveries:
        length = len(delivery.content.body)
        if chunk and size + length > _MAX_TRANSACTION_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(delivery)
        size += length
    if chunk:
        yield chunk


def _webhook(row: Any) -> WebhookRow:
    secret = SealedSecret(name=row["secret"], version=row["version"], sealed=row["sealed"]) if row["secret"] else None
    return WebhookRow(
        trigger_id=row["trigger_id"],
        workflow=row["workflow"],
        id=row["id"],
        path_key=row["path_key"],
        revision_id=row["revision_id"],
        secret=secret,
    )


def _stored(row: Any) -> StoredDelivery:
    return StoredDelivery(
        delivery_id=row["delivery_id"],
        trigger_id=row["trigger_id"],
        revision_id=row["revision_id"],
        verdict=Verdict(row["verdict"]),
        run_id=row["run_id"],
        trigger=row["trigger"],
        received_at=row["received_at"],
        content=Content(
            body=row["body"],
            content_type=row["content_type"],
            headers=json.loads(row["headers"]),
            query=row["query"],
        ),
    )
