"""An HTTP server that does what a test scripted and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  #: names in lower case
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to do with a request. `delay` is in seconds; `cut` breaks the connection instead of answering."""

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Target:
    """Serves on a free port. Paths that nothing was scripted for answer 200 with `{}`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.requests: list[Received] = []
        self.port = 0
        self._scripts: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._always: dict[str, Answer] = {}
        self._handlers: dict[str, Handler] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._runner: web.AppRunner | None = None

    def url(self, path: str = "/") -> str:
        """The address of a path."""
        return f"http://{self.host}:{self.port}{path}"

    def answer(self, path: str, *answers: Answer) -> None:
        """Give these answers in turn; the last one is repeated for ever."""
        self._scripts[path].extend(answers[:-1])
        self._always[path] = answers[-1]

    def handle(self, path: str, handler: Handler) -> None:
        """Answer with an aiohttp handler: drips, endless bodies, odd protocols."""
        self._handlers[path] = handler

    def hold(self, path: str) -> asyncio.Event:
        """Answer nothing on this path until the returned event is set. The requests are recorded at once."""
        gate = self._gates[path] = asyncio.Event()
        return gate

    def on(self, path: str) -> list[Received]:
        """What arrived on a path, oldest first."""
        return [request for request in self.requests if request.path == path]

    async def start(self) -> None:
        """Listen."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{rest:.*}", self._serve)
        # A held request must not keep the test from ending.
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection."""
        for gate in self._gates.values():
            gate.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests.append(
            Received(
                method=request.method,
                path=path,
                query=dict(request.query),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.read(),
            )
        )
        if path in self._gates:
            await self._gates[path].wait()
        if path in self._handlers:
            return await self._handlers[path](request)
        script = self._scripts[path]
        return await self._give(request, script.popleft() if script else self._always.get(path, Answer(json={})))

    async def _give(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.cut and request.transport is not None:
            request.transport.abort()
        if answer.json is not None:
            return web.json_response(answer.json, status=answer.status, headers=answer.headers)
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
