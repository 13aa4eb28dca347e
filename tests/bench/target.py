"""What the runs call: a server that answers every request with the same item, at the least cost, and counts exactly.

python -m tests.bench.target      listens on a free port and says which; `GET /count` is not counted
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from tests.bench.http1 import Messages
from tests.support.places import ROOT, clean_environment, short_folder
from tests.support.processes import Process

_READY = "listening on "


def _answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ITEM = _answer(json.dumps({"name": "item", "tags": ["a", "b", "c"]}).encode())


class Target:
    """A target in a process of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._process.ready_when(lambda: _READY in self._process.output())
        self.url = f"http://127.0.0.1:{int(self._process.output().rpartition(_READY)[2])}"

    def count(self) -> int:
        """How many requests it has answered."""
        with urllib.request.urlopen(f"{self.url}/count") as answer:  # noqa: S310  our own address
            return int(answer.read())

    def cpu_seconds(self) -> float:
        """The processor time that it has used."""
        return sum(psutil.Process(self._process.pid).cpu_times()[:2])


@contextmanager
def target() -> Iterator[Target]:
    """A target for the time of a block."""
    with short_folder() as folder:
        process = Process(
            [sys.executable, "-m", "tests.bench.target"],
            log=folder / "target.log",
            env=clean_environment() | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "services")))},
        )
        try:
            yield Target(process)
        finally:
            process.kill()


class Answers(Messages):
    """A connection whose requests are answered with the item; `seen` is told the beginning of each."""

    def __init__(self, seen: Callable[[bytes], bytes | None]) -> None:
        super().__init__(lambda request: self.write(seen(request) or _ITEM))


async def _serve() -> None:
    answered = 0

    def seen(request: bytes) -> bytes | None:
        nonlocal answered
        if request.startswith(b"GET /count "):
            return _answer(str(answered).encode())
        answered += 1
        return None

    server = await asyncio.get_running_loop().create_server(lambda: Answers(seen), "127.0.0.1", 0, backlog=1024)
    print(f"{_READY}{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
