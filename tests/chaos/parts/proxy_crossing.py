"""One connection through a link of the fault proxy."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.chaos.parts.pg_wire import Conversation, Cut, ToClient, ToServer
from tests.chaos.parts.proxy_conditions import Conditions, Way

CHUNK_BYTES = 64 * 1024
_CHUNKS_UNDER_WAY = 64  #: then whoever sends has to wait, as for a full window
_RESET = struct.pack("ii", 1, 0)  #: SO_LINGER on, without any time: close() sends RST

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Queue = asyncio.Queue[tuple[float, bytes]]


class _End(Exception):
    """A side has closed the connection, or it is to be broken."""


class Crossing:
    """Each way has a reader and a writer with a queue between them, so that a delay is counted from when something
    arrived, and an end is not told before what was sent earlier.

    Args:
        client: the connection that was accepted.
        connect: makes the one to the server.
        conditions: the link's.
        counts: the link's.
        conversation: what follows the bytes, if anything does.
        cut_all: breaks every connection of the link.
    """

    def __init__(
        self,
        client: Streams,
        connect: Callable[[], Awaitable[Streams]],
        conditions: Conditions,
        counts: Counter[str],
        *,
        conversation: Conversation | None,
        cut_all: Callable[[], None],
    ) -> None:
        self._ends = {Way.TO_CLIENT: client}
        self._connect = connect
        self._conditions = conditions
        self._counts = counts
        self._conversation = conversation
        self._cut_all = cut_all
        self.is_stranded = False
        self._task: asyncio.Task[Any] | None = None
        self._client_left = False
        self._is_rough = False  #: whether both sides are reset at the end
        self._is_cut = False

    async def run(self) -> None:
        """Forward until either side ends, or the connection is cut."""
        self._task = asyncio.current_task()
        queue = _Queue(_CHUNKS_UNDER_WAY)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._collect(Way.TO_SERVER, self._ends[Way.TO_CLIENT][0], queue))
                group.create_task(self._cross(group, queue))
        except* (_End, OSError, asyncio.CancelledError):
            pass  # however it ended, both sides learn it below
        finally:
            for _, writer in self._ends.values():
                abort(writer) if self._is_rough else writer.close()

    def strand(self) -> None:
        """Let nothing pass any more, whatever becomes of the link."""
        self.is_stranded = True
        self._conditions = Conditions(random.Random())
        self._conditions.silence(frozenset(Way))

    def cut(self) -> None:
        """Break both sides now."""
        if self._is_cut:
            return
        self._is_cut = self._is_rough = True
        self._counts["connections cut"] += 1
        for _, writer in self._ends.values():
            abort(writer)
        if self._task is not None:
            self._task.cancel()

    async def _cross(self, group: asyncio.TaskGroup, to_server: _Queue) -> None:
        # Nobody behind a wall hears that somebody knocks, nor that they have given up since.
        await self._conditions.not_silent(Way.TO_SERVER)
        if self._client_left:
            raise _End
        try:
            server = self._ends[Way.TO_SERVER] = await self._connect()
        except OSError:
            self._counts["unreachable"] += 1
            self._is_rough = True
            raise
        for _, writer in self._ends.values():
            writer.transport.set_write_buffer_limits(high=0)
        to_client = _Queue(_CHUNKS_UNDER_WAY)
        group.create_task(self._collect(Way.TO_CLIENT, server[0], to_client))
        group.create_task(self._deliver(Way.TO_SERVER, to_server))
        group.create_task(self._deliver(Way.TO_CLIENT, to_client))

    async def _collect(self, way: Way, reader: asyncio.StreamReader, queue: _Queue) -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                self._is_rough, data = True, b""
            if not data and way is Way.TO_SERVER:
                self._client_left = True
            await queue.put((time.monotonic(), data))

    async def _deliver(self, way: Way, queue: _Queue) -> None:
        while True:
            arrived, data = await queue.get()
            await self._conditions.passage(way, arrived)
            if not data:
                raise _End
            if self._conversation is None:
                await self._forward(way, data)
                continue
            follow = self._conversation.from_client if way is Way.TO_SERVER else self._conversation.from_server
            for action in follow(data):
                match action:
                    case ToServer():
                        await self._forward(Way.TO_SERVER, action.data)
                    case ToClient():
                        await self._forward(Way.TO_CLIENT, action.data)
                    case Cut():
                        self._is_rough = True
                        raise _End

    async def _forward(self, way: Way, data: bytes) -> None:
        """Write in slices as the conditions allow."""
        _, writer = self._ends[way]
        while data:
            size, is_last = self._conditions.spend(await self._conditions.turn(way, len(data)))
            writer.write(data[:size])
            await writer.drain()
            self._counts[f"bytes {way}"] += size
            data = data[size:]
            if is_last:
                self._cut_all()


def abort(writer: asyncio.StreamWriter) -> None:
    """Close without a farewell: TCP sends RST."""
    if writer.transport.is_closing():
        return
    found: socket.socket = writer.get_extra_info("socket")
    if found.family != socket.AF_UNIX:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
