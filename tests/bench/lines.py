"""Ways to ask the product for something: lines that stay open and carry one request after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import grpc

from tests.bench import http1
from tests.bench.http1 import Answer, Connection
from tests.bench.systems import System
from tests.support.api import Api, start_request

#: As many as the other engines were asked over.
CONNECTIONS = 32


class Line(Protocol):
    """One request at a time."""

    def send(self, content: Any, done: Callable[[Answer], None]) -> None:
        """Send a request; `done` is called with its answer."""

    async def close(self) -> None:
        """Close it."""


@asynccontextmanager
async def open_lines(system: System, via: str = "http", count: int = CONNECTIONS) -> AsyncIterator[Sequence[Line]]:
    """Open lines to a system's edge, by `http` or `grpc`."""
    async with AsyncExitStack() as stack:
        made: list[Line] = []
        for _ in range(count):
            line = await Connection.open(system.server) if via == "http" else GrpcLine(system)
            stack.push_async_callback(line.close)
            made.append(line)
        yield made


def start_of(system: System, workflow: str, via: str = "http", inputs: Mapping[str, Any] | None = None) -> Any:
    """What starts a run, as lines of that kind send it."""
    if via == "grpc":
        return start_request(workflow, inputs or {})
    headers = {"authorization": f"Bearer {system.token}", "content-type": "application/json"}
    body = json.dumps({"inputs": dict(inputs)} if inputs else {}).encode()
    return http1.request("POST", f"{system.server}/v1/workflows/{workflow}:start", headers, body)


class GrpcLine:
    """Starts runs over a gRPC channel of its own."""

    def __init__(self, system: System) -> None:
        self._api = Api(system.server, system.token, timeout=60.0)
        self._calls: set[asyncio.Task[None]] = set()

    def send(self, content: Any, done: Callable[[Answer], None]) -> None:
        """Send a StartRunRequest."""
        call = asyncio.create_task(self._call(content, done))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def close(self) -> None:
        """Close the channel."""
        await self._api.close()

    async def _call(self, content: Any, done: Callable[[Answer], None]) -> None:
        try:
            run = await self._api.call(self._api.runs.StartRun, content)
        except grpc.aio.AioRpcError as error:
            is_shed = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            done(Answer(429 if is_shed else 500, str(error.details()).encode()))
        else:
            done(Answer(200, json.dumps({"name": run.name}).encode()))
