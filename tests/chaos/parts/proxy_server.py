"""The fault proxy's process: `python -m tests.chaos.parts.proxy_server SOCKET`.

Whoever holds the one connection to SOCKET is obeyed: a line of JSON asks, a line of JSON answers. The process ends when
that connection does, so it never outlives its owner.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.chaos.parts.proxy_link import Link

_CONTROLS = frozenset(
    {
        "latency",
        "bandwidth",
        "cut",
        "cut_after",
        "refuse",
        "blackhole",
        "strand",
        "heal",
        "mishap",
        "forget_peak",
        "report",
    }
)


class _Switchboard:
    """The links by name."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    async def do(self, what: str, name: str, values: dict[str, Any]) -> Any:
        """Open a link, or turn one of its controls."""
        if what == "open":
            link = self._links[name] = Link(values["upstream"], postgres=values["postgres"], seed=values["seed"])
            await link.open(values["listen"])
            return link.address
        if what not in _CONTROLS:
            raise ValueError(f"there is no control {what}")
        return getattr(self._links[name], what)(**values)

    def close(self) -> None:
        """End every link."""
        for link in self._links.values():
            link.close()


async def _serve(path: str) -> None:
    board, ended = _Switchboard(), asyncio.Event()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            asked = json.loads(line)
            try:
                answer = {"result": await board.do(asked["do"], asked["link"], asked["with"])}
            except (OSError, ValueError, TypeError, KeyError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        ended.set()

    await asyncio.start_unix_server(obey, path)
    await ended.wait()
    board.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
