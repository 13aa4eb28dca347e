"""Webhooks by their path: looked up in batches, kept for a second, compiled once a revision."""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog

from taskforge.domain.workflow import Workflow
from taskforge.ingest.judge import Hook
from taskforge.language.plan import plan_webhook
from taskforge.runtime.batcher import Batcher
from taskforge.security.keyring import KeyRing, SealError
from taskforge.security.webhook_schemes import SchemeError, scheme_named
from taskforge.store.deliveries import Deliveries, SealedSecret, WebhookRow
from taskforge.store.deliveries import Path as HookPath

_FRESH_SECONDS = 1.0
_MAX_ENDPOINTS = 5_000
_MAX_REVISIONS = 1_000
# Compared with when there is no such webhook, so that this takes as long as a wrong key does.
_NO_KEY = "0" * 32

Key = TypeVar("Key")
Value = TypeVar("Value")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A webhook as it is now."""

    trigger_id: UUID
    path_key: str
    hook: Hook
    secrets: tuple[str, ...]  #: those that are valid now; empty if it needs none, or if its secret is missing


class Webhooks:
    """The webhooks of all workflows. A change is seen within a second."""

    def __init__(self, deliveries: Deliveries, keyring: KeyRing) -> None:
        self._deliveries = deliveries
        self._keyring = keyring
        self._endpoints: OrderedDict[HookPath, tuple[float, Endpoint]] = OrderedDict()
        self._revisions: OrderedDict[UUID, Mapping[str, Hook]] = OrderedDict()
        self._lookups: Batcher[HookPath, Endpoint | None] = Batcher("find_webhooks", self._find)

    async def at(self, path: HookPath, key: str) -> Endpoint | None:
        """The webhook of a URL. A wrong key and an unknown path look alike, also in time."""
        endpoint = None
        if all(part.isascii() and part.isprintable() for part in path):
            endpoint = self._cached(path) or await self._lookups.submit(path)
        expected = endpoint.path_key if endpoint else _NO_KEY
        is_equal = hmac.compare_digest(expected.encode(), key.encode("utf-8", "replace"))
        return endpoint if endpoint and is_equal else None

    async def hook(self, revision_id: UUID, trigger: str) -> Hook | None:
        """A webhook of a pinned revision."""
        await self._compile([revision_id])
        return self._revisions.get(revision_id, {}).get(trigger)

    def _cached(self, path: HookPath) -> Endpoint | None:
        good_until, endpoint = self._endpoints.get(path, (0.0, None))
        return endpoint if asyncio.get_running_loop().time() < good_until else None

    async def _find(self, paths: Sequence[HookPath]) -> Sequence[Endpoint | None]:
        rows = await self._deliveries.find_webhooks(list(dict.fromkeys(paths)))
        await self._compile([row.revision_id for row in rows.values()])
        good_until = asyncio.get_running_loop().time() + _FRESH_SECONDS
        found = {path: endpoint for path, row in rows.items() if (endpoint := self._endpoint(row))}
        for path, endpoint in found.items():
            _put(self._endpoints, path, (good_until, endpoint), _MAX_ENDPOINTS)
        return [found.get(path) for path in paths]

    def _endpoint(self, row: WebhookRow) -> Endpoint | None:
        hook = self._revisions.get(row.revision_id, {}).get(row.id)
        if hook is None:
            return None
        return Endpoint(trigger_id=row.trigger_id, path_key=row.path_key, hook=hook, secrets=self._open(row.secret))

    def _open(self, secret: SealedSecret | None) -> tuple[str, ...]:
        if secret is None:
            return ()
        try:
            return (self._keyring.open(secret.name, secret.version, secret.sealed).decode(),)
        except (SealError, UnicodeDecodeError) as error:
            log.error("secret_not_opened", secret=secret.name, version=secret.version, error=str(error))
            return ()

    async def _compile(self, revision_ids: Sequence[UUID]) -> None:
        missing = [revision_id for revision_id in set(revision_ids) if revision_id not in self._revisions]
        if not missing:
            return
        # With this comes most of what a process of ours weighs, and a system without webhooks needs none of it here.
        from taskforge.language.parse import parse_workflow

        for revision_id, source in (await self._deliveries.read_sources(missing)).items():
            workflow = parse_workflow(source).workflow
            if workflow is None:
                # A version that allowed more accepted it.
                log.error("revision_not_compiled", revision=str(revision_id))
                continue
            _put(self._revisions, revision_id, _hooks(revision_id, workflow), _MAX_REVISIONS)


def _hooks(revision_id: UUID, workflow: Workflow) -> Mapping[str, Hook]:
    found = {}
    for trigger in workflow.webhooks:
        try:
            scheme = scheme_named(trigger.scheme, trigger.options)
        except SchemeError as error:
            log.error("scheme_not_usable", revision=str(revision_id), trigger=trigger.id, error=str(error))
            continue
        found[trigger.id] = Hook(revision_id=revision_id, workflow=workflow, plan=plan_webhook(trigger), scheme=scheme)
    return found


def _put(cache: OrderedDict[Key, Value], key: Key, value: Value, capacity: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > capacity:
        cache.popitem(last=False)
