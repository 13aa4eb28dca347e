"""What the runs call: a server that answers at once and counts."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.support.places import short_folder
from tests.support.servers import ServerProcess, serve

_ITEM = json.dumps({"name": "item", "tags": ["a", "b", "c"]}).encode()


@contextmanager
def target() -> Iterator[ServerProcess]:
    """A target for the time of a block."""
    with short_folder() as folder:
        server = ServerProcess("tests.bench.target", log=folder / "target.log")
        try:
            yield server
        finally:
            server.stop()


def count(server: ServerProcess) -> int:
    """How many requests it has answered."""
    with urllib.request.urlopen(f"{server.url}/count") as answer:  # noqa: S310  our own address
        return int(answer.read())


def _application() -> web.Application:
    answered = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        return web.Response(body=_ITEM, content_type="application/json")

    async def say_count(_: web.Request) -> web.Response:
        return web.Response(text=str(answered))

    application = web.Application()
    application.router.add_get("/count", say_count)
    application.router.add_route("*", "/{rest:.*}", answer)
    return application


if __name__ == "__main__":
    serve(_application())
