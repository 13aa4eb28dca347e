"""One link of the fault proxy: whoever connects to its address is connected to its upstream."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from tests.chaos.parts.pg_wire import SQLSTATES, Conversation, Mishap, Mishaps
from tests.chaos.parts.proxy_conditions import WAYS, Conditions
from tests.chaos.parts.proxy_crossing import CHUNK_BYTES, Crossing, Streams, abort

_BACKLOG = 512


class Link:
    """The controls are what `proxy.Link` offers; see there. Each is counted."""

    def __init__(self, upstream: str, *, postgres: bool, seed: int) -> None:
        self.address = ""
        self.counts: Counter[str] = Counter()
        self._upstream = upstream
        self._conditions = Conditions(random.Random(seed))
        self._mishaps = Mishaps(rng=random.Random(seed)) if postgres else None
        self._crossings: set[Crossing] = set()
        self._accepted: deque[float] = deque()  #: moments of the last second
        self._server: asyncio.Server | None = None

    async def open(self, listen: str) -> None:
        """Begin to accept connections."""
        path = _path(listen)
        if path is not None:
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._accept, path, limit=CHUNK_BYTES, backlog=_BACKLOG)
            self.address = listen
        else:
            host, _, port = listen.rpartition(":")
            self._server = await asyncio.start_server(
                self._accept, host, int(port), limit=CHUNK_BYTES, backlog=_BACKLOG
            )
            self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """End the link."""
        if self._server is not None:
            self._server.close()
        self._cut_all()

    def report(self) -> dict[str, Any]:
        """Every count, and how many connections there are now."""
        commits = dict(self._mishaps.counts) if self._mishaps else {}
        return {"connections": len(self._crossings), "counts": dict(self.counts), "commits": commits}

    def latency(self, *, seconds: float, jitter: float, direction: str) -> None:
        """Delay what passes."""
        self.counts["latency"] += 1
        self._conditions.delay(WAYS[direction], seconds, jitter)

    def bandwidth(self, *, bytes_per_second: float) -> None:
        """Let no more than this pass each way."""
        self.counts["bandwidth"] += 1
        self._conditions.limit(bytes_per_second)

    def cut(self) -> None:
        """Break all connections now."""
        self.counts["cut"] += 1
        self._cut_all()

    def cut_after(self, *, size: int) -> None:
        """Break all connections when so many more bytes have passed."""
        self.counts["cut_after"] += 1
        self._conditions.allow(size)

    def refuse(self) -> None:
        """Break all connections, and every new one at once."""
        self.counts["refuse"] += 1
        self._conditions.refusing = True
        self._cut_all()

    def blackhole(self, *, direction: str) -> None:
        """Keep connections and forward nothing."""
        self.counts["blackhole"] += 1
        self._conditions.silence(WAYS[direction])

    def strand(self) -> None:
        """Forget the connections of now: neither side is told anything any more."""
        self.counts["strand"] += 1
        for crossing in self._crossings:
            crossing.strand()

    def heal(self) -> None:
        """End every fault."""
        self.counts["heal"] += 1
        for crossing in list(self._crossings):
            if crossing.is_stranded:
                crossing.cut()
        self._conditions.heal()
        if self._mishaps:
            self._mishaps.forget()

    def mishap(self, *, kind: str, chance: float, times: int | None, sqlstates: list[str]) -> None:
        """Let COMMITs go wrong."""
        if self._mishaps is None:
            raise ValueError("this link does not follow PostgreSQL: open it with postgres=True")
        self.counts[kind] += 1
        self._mishaps.sqlstates = sqlstates or SQLSTATES
        self._mishaps.expect(Mishap(kind), chance, times=times)

    def forget_peak(self) -> None:
        """Look for the busiest second from now on."""
        self._accepted.clear()
        self.counts["busiest second"] = 0

    def _cut_all(self) -> None:
        for crossing in list(self._crossings):
            crossing.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count_connect()
        if self._conditions.refusing:
            self.counts["refused"] += 1
            abort(writer)
            return
        crossing = Crossing(
            (reader, writer),
            self._connect,
            self._conditions,
            self.counts,
            conversation=Conversation(self._mishaps) if self._mishaps else None,
            cut_all=self._cut_all,
        )
        self._crossings.add(crossing)
        try:
            await crossing.run()
        finally:
            self._crossings.discard(crossing)

    async def _connect(self) -> Streams:
        path = _path(self._upstream)
        if path is not None:
            return await asyncio.open_unix_connection(path, limit=CHUNK_BYTES)
        host, _, port = self._upstream.rpartition(":")
        return await asyncio.open_connection(host, int(port), limit=CHUNK_BYTES)

    def _count_connect(self) -> None:
        now = time.monotonic()
        self._accepted.append(now)
        while now - self._accepted[0] > 1.0:
            self._accepted.popleft()
        self.counts["connects"] += 1
        self.counts["busiest second"] = max(self.counts["busiest second"], len(self._accepted))


def _path(address: str) -> Path | None:
    """The socket's path, or None for host:port."""
    return Path(address.removeprefix("unix:")) if address.startswith(("unix:", "/")) else None
