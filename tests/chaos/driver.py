"""Somebody who starts runs and does not give up: every start is repeated, under its key, until it is confirmed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

import aiohttp
import grpc

from taskforge.security.signatures import sign
from taskforge.security.webhook_schemes import StandardScheme
from tests.chaos.rows import Acknowledged
from tests.support.api import Api
from tests.support.waiting import eventually

#: Answers after which nobody knows whether the run was started. Anything else would be a refusal.
_UNKNOWN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED")
_CALL_SECONDS = 5.0
_PAUSE_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook with the Standard Webhooks scheme."""

    url: str
    secret: str


class Driver:
    """Starts runs of one workflow: every second one by the API, the others by its webhook."""

    def __init__(self, api: Api, http: aiohttp.ClientSession, workflow: str, hook: Hook) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.repeated = 0  #: starts that had to be sent again
        self._api = api
        self._http = http
        self._workflow = workflow
        self._hook = hook

    async def start(self, tickets: Iterable[str], *, at_once: int) -> None:
        """Start a run for each ticket, `at_once` of them at the same time."""
        ways: tuple[Callable[[str], Awaitable[UUID]], ...] = (self._by_api, self._by_webhook)
        waiting = enumerate(tickets)

        async def worker() -> None:
            for number, ticket in waiting:
                await self._until_confirmed(ticket, ways[number % 2])

        await asyncio.gather(*(worker() for _ in range(at_once)))

    async def _until_confirmed(self, ticket: str, way: Callable[[str], Awaitable[UUID]]) -> None:
        tries = 0

        async def confirmed() -> UUID:
            nonlocal tries
            tries += 1
            return await way(ticket)

        run_id: UUID = await eventually(confirmed, within=_PATIENCE_SECONDS, pause=_PAUSE_SECONDS)
        self.repeated += tries - 1
        self.acknowledged.append(Acknowledged(ticket=ticket, run_id=run_id))

    async def _by_api(self, ticket: str) -> UUID:
        try:
            run = await self._api.start(self._workflow, request_id=ticket, ticket=ticket)
        except grpc.aio.AioRpcError as error:
            if error.code().name not in _UNKNOWN:
                raise
            raise AssertionError(f"not confirmed: {error.code().name} {error.details()}") from error
        return UUID(run.name.removeprefix("runs/"))

    async def _by_webhook(self, ticket: str) -> UUID:
        body = json.dumps({"ticket": ticket}).encode()
        headers = sign(StandardScheme(), body, self._hook.secret, time.time(), message_id=ticket)
        headers["content-type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        try:
            async with self._http.post(self._hook.url, data=body, headers=headers, timeout=timeout) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AssertionError(f"not confirmed: {error!r}") from error
        assert answer.status < 500, f"not confirmed: {answer.status} {text}"
        if answer.status != 200:
            raise RuntimeError(f"the webhook refused {ticket}: {answer.status} {text}")
        return UUID(json.loads(text)["run"].removeprefix("runs/"))
