"""The workloads of tests/bench/workloads.py as workflows of DBOS, behind the least of an HTTP server.

It runs in an environment that has DBOS and nothing else, so of the product and the tests it uses what needs nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from dbos import DBOS  # type: ignore[import-not-found]

from tests.bench.http1 import Messages

_ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_STARTS = 32  #: at a time: as many as there are connections
_kept = threading.local()


def _call(method: str, path: str, content: Any = None) -> Any:
    """A request over the connection that this thread keeps open."""
    if not hasattr(_kept, "connection"):
        _kept.connection = http.client.HTTPConnection(urlsplit(os.environ["TARGET"]).netloc)
    body = None if content is None else json.dumps(content)
    _kept.connection.request(method, path, body, {"content-type": "application/json"})
    return json.loads(_kept.connection.getresponse().read())


def _shaped(item: Any) -> Any:
    return {"name": item["name"], "count": len(item["tags"])}


_fetch = DBOS.step(name="fetch")(lambda: _call("GET", "/item"))
_shape = DBOS.step(name="shape")(_shaped)
_route = DBOS.step(name="route")(lambda shaped: shaped["count"] > 0)
_announce = DBOS.step(name="announce")(lambda shaped: _call("POST", "/announce", shaped))
_number = DBOS.step(name="number")(lambda number: number)


def _hop() -> None:
    _fetch()


def _chain() -> None:
    shaped = _shape(_fetch())
    if _route(shaped):
        _announce(shaped)


def _ten() -> None:
    for number in range(10):
        _number(number)


_WORKFLOWS = {name: DBOS.workflow(name=name)(run) for name, run in (("hop", _hop), ("chain", _chain), ("ten", _ten))}


class Starts(Messages):
    """A connection over which runs are started: a run's name is the request's path."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        super().__init__(self._start)
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    def _start(self, request: bytes) -> None:
        """`start_workflow` returns when the run's row is committed, and blocks until then."""
        name = request.split(b" ", 2)[1].decode().removeprefix("/")
        started = self._threads.submit(DBOS.start_workflow, _WORKFLOWS[name])
        started.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._answer, done))

    def _answer(self, started: Future[Any]) -> None:
        started.result()
        self.write(_ACCEPTED)


async def _serve() -> None:
    with ThreadPoolExecutor(_STARTS) as threads:
        made: Callable[[], Starts] = partial(Starts, threads)
        server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
        print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    DBOS(config={"name": "bench", "system_database_url": os.environ["DATABASE"], "log_level": "WARNING"})
    DBOS.launch()
    asyncio.run(_serve())
