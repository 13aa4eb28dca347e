"""A target that notes when each request arrives, in the process that sent the trigger: one clock for both."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.bench.target import Answers

_NUMBER = re.compile(rb"[?&]n=(\d+)")


class Arrivals:
    """When requests have arrived, as seconds since the epoch."""

    def __init__(self) -> None:
        self.url = ""
        self.at: list[float] = []
        self.first: dict[int, float] = {}  #: by the number in their query string

    def note(self, request: bytes) -> None:
        """Note a request."""
        now = time.time()
        self.at.append(now)
        found = _NUMBER.search(request)
        if found:
            self.first.setdefault(int(found[1]), now)


@asynccontextmanager
async def arrivals() -> AsyncIterator[Arrivals]:
    """A target for the time of a block."""
    noted = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: Answers(noted.note), "127.0.0.1", 0)
    noted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield noted
