"""A sender of webhooks: knows where to send, signs, and says what came back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

import grpc
from google.api import httpbody_pb2

from taskforge.runtime.ids import new_id
from taskforge.security.signatures import sign
from taskforge.security.webhook_schemes import Scheme, scheme_named
from taskforge.v1 import hook_service_pb2 as pb
from taskforge.v1 import secret_service_pb2, webhook_service_pb2
from taskforge.v1.hook_service_pb2_grpc import HookServiceStub
from tests.support.gateway import Api, Refusal
from tests.support.postgres import Database

SECRET = "It is a secret between you and me."
GITHUB = scheme_named("github")

DEPLOY = """
name: deploy
inputs:
  branch: {type: string}
  urgent: {type: boolean, default: false}
triggers:
  - id: push
    webhook:
      verify: {scheme: github, secret: GH_HOOK}
      if: ${{ trigger.body.ref != 'refs/heads/ignored' }}
    inputs: {branch: "${{ trigger.body.ref }}"}
steps:
  - {id: say, log: "deploying ${{ inputs.branch }}"}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request to a webhook, with a delivery id of its own. Without a `signature_scheme` it is not signed."""

    body: bytes = b'{"ref": "refs/heads/main"}'
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    signature_scheme: Scheme | None = GITHUB
    secret: str = SECRET

    def metadata(self, path: str) -> tuple[tuple[str, str], ...]:
        """The headers as the edge passes them on."""
        signed = {}
        if self.signature_scheme is not None:
            signed = sign(self.signature_scheme, self.body, self.secret, time.time(), message_id=str(new_id()))
        envoy = {"x-envoy-original-path": quote(path) + f"?{self.query}" if self.query else quote(path)}
        return tuple({"user-agent": "tests", **signed, **self.headers, **envoy}.items())


class Sender:
    """Sends to one webhook."""

    def __init__(self, stub: HookServiceStub, path: str, database: Database) -> None:
        self.path = path
        self._stub = stub
        self._database = database

    async def post(self, **fields: Any) -> pb.ReceiveHookResponse:
        """Send a request with these fields of a `Post`."""
        post = Post(**fields)
        _, _, workflow, trigger, key = self.path.split("/")
        request = pb.ReceiveHookRequest(
            workflow=workflow,
            trigger=trigger,
            key=key,
            body=httpbody_pb2.HttpBody(data=post.body, content_type=post.content_type),
        )
        answer: pb.ReceiveHookResponse = await self._stub.ReceiveHook(
            request, metadata=post.metadata(self.path), timeout=15
        )
        return answer

    async def refused(self, **fields: Any) -> Refusal:
        """Send a request that must be refused."""
        try:
            answer = await self.post(**fields)
        except grpc.aio.AioRpcError as error:
            return Refusal(error)
        raise AssertionError(f"it was not refused: {answer}")

    async def deliveries(self) -> Sequence[Any]:
        """What is stored, oldest first."""
        async with self._database.connect() as connection:
            rows: Sequence[Any] = await connection.fetch("SELECT * FROM webhook_deliveries ORDER BY delivery_id")
            return rows

    async def verdicts(self) -> list[str]:
        """The verdicts of what is stored, oldest first."""
        return [row["verdict"] for row in await self.deliveries()]

    async def runs(self) -> dict[UUID, Any]:
        """The runs that exist, by id."""
        async with self._database.connect() as connection:
            rows = await connection.fetch("SELECT * FROM runs")
        found: dict[UUID, Any] = {row["run_id"]: row for row in rows}
        return found

    async def execute(self, statement: str, *values: Any) -> None:
        """Change something behind the services' backs."""
        async with self._database.connect() as connection:
            await connection.execute(statement, *values)


async def set_secret(api: Api, name: str, value: str) -> None:
    """Set a secret."""
    request = secret_service_pb2.SetSecretRequest(name=f"secrets/{name}", value=value)
    await api.call(api.secrets.SetSecret, request)


async def webhook_path(api: Api, trigger: str = "push") -> str:
    """Where a webhook listens."""
    answer = await api.call(api.webhooks.ListWebhooks, webhook_service_pb2.ListWebhooksRequest())
    [path] = [webhook.path for webhook in answer.webhooks if webhook.name.endswith(f"/webhooks/{trigger}")]
    return str(path)


def run_of(answer: pb.ReceiveHookResponse) -> UUID:
    """The run that an answer names."""
    return UUID(answer.run.removeprefix("runs/"))


def as_json(text: str) -> Any:
    """A stored JSON column."""
    return json.loads(text)
