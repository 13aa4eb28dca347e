"""A cable between two TCP ports that can be cut: nothing is closed, nothing comes through, as when packets are dropped.

It runs in a thread of its own, so that it works however busy or blocked the test's event loop is.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing, suppress

_CHUNK = 65536


class Cable:
    """Listens on `port` and forwards to another one."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._listening = threading.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self.port = 0
        self._whole.set()
        self._thread.start()
        self._listening.wait()

    def cut(self) -> None:
        """Hold back everything from now on, also what has been read and not been forwarded."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        """Forward again, beginning with what was held back."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def close(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self._listening.set()
        await self._done.wait()
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Streams take a cancelled handler for a fault and log it, so it ends as if nothing had happened.
        with suppress(OSError, asyncio.CancelledError), closing(writer):
            await self._whole.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            with closing(back):
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
            await self._whole.wait()  # not even the end gets through
        writer.close()
