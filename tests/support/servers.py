"""HTTP servers of the tests in processes of their own: they do not share the test's event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

from tests.support.places import ROOT, clean_environment
from tests.support.processes import Process

_READY = "listening on "


class ServerProcess:
    """`python -m MODULE ARGUMENTS`, whose program ends in `serve`."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        self._process = Process(
            [sys.executable, "-m", module, *arguments],
            log=log,
            env=clean_environment() | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "services")))},
        )
        self._process.ready_when(lambda: _READY in self._process.output())
        self.url = f"http://127.0.0.1:{int(self._process.output().rpartition(_READY)[2])}"

    def stop(self) -> None:
        """End the server."""
        self._process.kill()


def serve(application: web.Application) -> None:
    """Listen on a free port of the loopback interface, say which, and serve for ever."""
    asyncio.run(_serve(application))


async def _serve(application: web.Application) -> None:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"{_READY}{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()
