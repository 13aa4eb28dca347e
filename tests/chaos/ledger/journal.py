"""Lines that are on the disk before anybody is told so."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO


class Journal:
    """Appends lines to a file. Requests that arrive together share a sync."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, line: Mapping[str, Any]) -> None:
        """Return when the line is there for good."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((json.dumps(line).encode() + b"\n", done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._append, b"".join(line for line, _ in batch))
            except OSError as error:
                for _, done in batch:
                    if not done.cancelled():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.cancelled():
                        done.set_result(None)
        self._writing = None

    def _append(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fdatasync(self._file.fileno())
