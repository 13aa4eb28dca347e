"""The outside world: a server that writes each request down for good before it answers.

    python -m tests.chaos.ledger FILE      says `listening on PORT`

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
from uuid import UUID

from aiohttp import web

from tests.chaos.rows import LedgerLine
from tests.support.places import clean_environment, short_folder
from tests.support.processes import Process

_READY = "listening on "


class Ledger:
    """The server's process and its file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.jsonl"
        self._process = Process(
            [sys.executable, "-m", "tests.chaos.ledger", str(self._file)],
            log=folder / "ledger.log",
            env=clean_environment() | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._process.ready_when(lambda: _READY in self._process.output())
        self.url = f"http://127.0.0.1:{int(self._process.output().rpartition(_READY)[2])}"

    def lines(self) -> list[LedgerLine]:
        """Every request that arrived so far, oldest first. A line that is being written is left out."""
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        return [_parse(line) for line in text.split("\n")[:-1]]

    def stop(self) -> None:
        """End the server."""
        self._process.kill()


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
    return LedgerLine(
        at=found["at"],
        run_id=UUID(found["run"].removeprefix("runs/")),
        step=found["step"],
        attempt=int(found["attempt"]),
        idempotency_key=found["key"],
        ticket=found["ticket"],
    )


def _serve(path: Path) -> None:
    with path.open("ab", buffering=0) as file:

        async def write_down(request: web.Request) -> web.Response:
            line = {
                "at": time.time(),
                "run": request.headers.get("TaskForge-Run", ""),
                "step": request.headers.get("TaskForge-Step", ""),
                "attempt": request.headers.get("TaskForge-Attempt", "0"),
                "key": request.headers.get("Idempotency-Key", ""),
                "ticket": request.query.get("ticket", ""),
            }
            file.write(json.dumps(line).encode() + b"\n")
            os.fdatasync(file.fileno())
            await asyncio.sleep(float(request.query.get("delay", "0")))
            return web.json_response({"ticket": line["ticket"]})

        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", write_down)
        asyncio.run(_listen(application))


async def _listen(application: web.Application) -> None:
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"{_READY}{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
