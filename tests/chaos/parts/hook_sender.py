"""A sender of signed webhooks that can lie about the time, and repeat itself."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from taskforge.security.signatures import sign
from taskforge.security.webhook_schemes import StandardScheme
from tests.chaos.world.world import World

FLOW = """
name: {name}
inputs: {{ticket: {{type: string}}}}
triggers:
  - id: hook
    webhook: {{verify: {{scheme: standard, secret: CHAOS_SENDER}}}}
    inputs: {{ticket: "${{{{ trigger.body.ticket }}}}"}}
steps:
  - {{id: note, log: "${{{{ inputs.ticket }}}}"}}
"""
_CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a delivery was answered. `run` is its id, empty without one; `status` 0: nobody answered."""

    status: int
    verdict: str = ""
    run: str = ""


class HookSender:
    """Sends deliveries of one webhook."""

    def __init__(self, http: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._http = http
        self._url = url
        self._secret = secret

    async def send(self, delivery: str, *, ticket: str = "", ago: float = 0.0) -> Answer:
        """Send a delivery under its id. `ago`: how many seconds ago it says that it was signed."""
        body = json.dumps({"ticket": ticket or delivery}).encode()
        headers = sign(StandardScheme(), body, self._secret, time.time() - ago, message_id=delivery)
        headers["content-type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        try:
            async with self._http.post(self._url, data=body, headers=headers, timeout=timeout) as answer:
                status, text = answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return Answer(status=0)
        told = json.loads(text) if status == 200 else {}
        return Answer(status=status, verdict=told.get("verdict", ""), run=told.get("run", "").removeprefix("runs/"))


@asynccontextmanager
async def hook_sender(world: World, name: str) -> AsyncIterator[HookSender]:
    """Apply a workflow of this name, and send to its webhook."""
    secret = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    await world.api.set_secret("CHAOS_SENDER", secret)
    await world.api.apply(FLOW.format(name=name))
    url = world.server + await world.api.hook_path(name)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield HookSender(http, url, secret)
