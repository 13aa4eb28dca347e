"""What stories share: workflows and secrets with names of their own."""

from __future__ import annotations

import secrets
from textwrap import dedent

from taskforge.v1.secret_service_pb2 import DeleteSecretRequest
from taskforge.v1.workflow_service_pb2 import DeleteWorkflowRequest
from tests.support.api import Api


class Workflows:
    """Applies workflows. `$name` in a source becomes a name that nobody has, `$target` the target's address."""

    def __init__(self, api: Api, *, target: str) -> None:
        self._api = api
        self._target = target
        self._applied: list[str] = []
        self._secrets: list[str] = []

    async def apply(self, source: str, **words: str) -> str:
        """Apply a workflow and return its name. `words` fill in what else begins with `$`."""
        name = words.pop("name", "") or f"story-{secrets.token_hex(5)}"
        await self._api.apply(self.filled(source, name=name, **words))
        self._applied.append(name)
        return name

    def filled(self, source: str, **words: str) -> str:
        """A source with its words filled in."""
        text = dedent(source)
        for word, value in {**words, "target": self._target}.items():
            text = text.replace(f"${word}", value)
        return text

    async def secret(self, value: str) -> str:
        """Store a secret under a name of its own and return the name."""
        name = f"STORY_{secrets.token_hex(5).upper()}"
        await self._api.set_secret(name, value)
        self._secrets.append(name)
        return name

    async def delete(self) -> None:
        """Delete everything that was made here."""
        for workflow in dict.fromkeys(self._applied):
            request = DeleteWorkflowRequest(name=f"workflows/{workflow}", force=True)
            await self._api.call(self._api.workflows.DeleteWorkflow, request)
        for name in self._secrets:
            await self._api.call(
                self._api.secrets.DeleteSecret, DeleteSecretRequest(name=f"secrets/{name}", force=True)
            )
