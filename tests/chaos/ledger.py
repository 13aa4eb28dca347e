"""The outside world: a server that writes each request down for good before it answers.

`?delay=SECONDS` keeps the caller waiting after the line was written: its effect has happened, and it does not know yet.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from uuid import UUID

from aiohttp import web

from tests.chaos.rows import LedgerLine
from tests.support.places import short_folder
from tests.support.servers import ServerProcess, serve


class Ledger:
    """The server's process and its file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.jsonl"
        self._server = ServerProcess("tests.chaos.ledger", str(self._file), log=folder / "ledger.log")
        self.url = self._server.url

    def lines(self) -> list[LedgerLine]:
        """Every request that arrived so far, oldest first. A line that is being written is left out."""
        return [_parse(line) for line in self._file.read_text(encoding="utf-8").split("\n")[:-1]]

    def stop(self) -> None:
        """End the server."""
        self._server.stop()


@contextmanager
def ledger() -> Iterator[Ledger]:
    """A ledger for the time of a block."""
    with short_folder() as folder:
        server = Ledger(folder)
        try:
            yield server
        finally:
            server.stop()


def _parse(line: str) -> LedgerLine:
    found = json.loads(line)
    attempt, epoch, token = (int(part.rpartition("=")[2]) for part in found["attempt"].split(";"))
    return LedgerLine(
        at=found["at"],
        run_id=UUID(found["run"]),
        step=found["step"],
        attempt=attempt,
        epoch=epoch,
        token=token,
        idempotency_key=found["key"],
        ticket=found["ticket"],
    )


def _application(file: BinaryIO) -> web.Application:
    async def write_down(request: web.Request) -> web.Response:
        line = {
            "at": time.time(),
            "run": request.headers["TaskForge-Run"],
            "step": request.headers["TaskForge-Step"],
            "attempt": request.headers["TaskForge-Attempt"],
            "key": request.headers.get("Idempotency-Key", ""),
            "ticket": request.query["ticket"],
        }
        file.write(json.dumps(line).encode() + b"\n")
        os.fdatasync(file.fileno())
        await asyncio.sleep(float(request.query.get("delay", "0")))
        return web.json_response({"ticket": line["ticket"]})

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", write_down)
    return application


if __name__ == "__main__":
    with Path(sys.argv[1]).open("ab", buffering=0) as ledger_file:
        serve(_application(cast("BinaryIO", ledger_file)))
