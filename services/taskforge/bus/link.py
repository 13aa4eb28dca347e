"""The connection to whichever server holds the stream, in a cluster or alone.

A stream lives on one server, so a cluster asks no more of its users than to follow `MOVED`. This does that, and
leaves a server that does not answer, or not as a master, for the next one known. It holds no map of the cluster and
never waits between attempts: an attempt costs at most the time for an answer, connecting and all, and what comes
after a failure is left to those who know what their hints are worth.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

from redis.asyncio import Connection, Redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from taskforge.bus.address import Servers, open_client

#: What a command may raise when Redis is away, starting, full or not what we think it is.
BUS_FAILURES = (RedisError, OSError, TimeoutError)

#: A command and its arguments.
Command = tuple[str | bytes | int, ...]

_REDIRECTIONS = 3
_LEARNED = 16  # servers that others pointed to; the oldest are forgotten
_ASK_ELSEWHERE = (ReadOnlyError, ClusterDownError, AskError, TryAgainError)  # replies of one that is no master now


class Link:
    """Runs commands on the server that holds the stream."""

    def __init__(self, url: str, *, answer_seconds: float) -> None:
        self._servers = Servers.parse(url)
        self._answer_seconds = answer_seconds
        self._learned: deque[str] = deque(maxlen=_LEARNED)
        self._url = self._servers.urls[0]
        self._client = open_client(self._url)

    async def run(self, *commands: Command) -> Any:
        """Send commands in one trip and return the last one's reply. Raises BUS_FAILURES, that reply among them."""
        for _ in range(_REDIRECTIONS):
            client = self._client
            try:
                async with asyncio.timeout(self._answer_seconds):
                    return await _run(client, commands)
            except MovedError as error:
                moved = error
                await self._follow(client, error)
            except ResponseError as error:
                if isinstance(error, _ASK_ELSEWHERE):
                    await self._leave(client)
                raise
            except BUS_FAILURES:
                await self._leave(client)
                raise
            finally:
                if client is not self._client:
                    # It may have been connecting when another task closed it: that closed nothing.
                    await _close(client)
        raise moved

    async def close(self) -> None:
        """Disconnect."""
        await self._turn_to(self._url, self._client)

    async def _follow(self, client: Redis, moved: MovedError) -> None:
        host = moved.host or str(client.connection_pool.connection_kwargs.get("host", ""))
        url = self._servers.url_of(host, moved.port)
        if url not in self._known():
            self._learned.append(url)
        await self._turn_to(url, client)

    async def _leave(self, client: Redis) -> None:
        """Turn to the next server; to the same one, by its name and not its old address, if no other is known."""
        known = self._known()
        index = known.index(self._url) + 1 if self._url in known else 0
        await self._turn_to(known[index % len(known)], client)

    async def _turn_to(self, url: str, client: Redis) -> None:
        if client is self._client:  # else another task has done it
            self._url = url
            self._client = open_client(url)
        await _close(client)

    def _known(self) -> list[str]:
        return [*self._servers.urls, *self._learned]


async def _close(client: Redis) -> None:
    with contextlib.suppress(*BUS_FAILURES):
        await client.aclose()


async def _run(client: Redis, commands: tuple[Command, ...]) -> Any:
    """Without the client's pipeline, which does much that nobody here asks for."""
    pool: Any = client.connection_pool  # which is typed in part
    connection = await pool.get_connection()
    try:
        reply = await _trip(client, connection, commands)
    except BUS_FAILURES:
        raise
    except Exception as error:  # what the client makes of bytes that are not the protocol
        raise InvalidResponse(f"not understood: {type(error).__name__}: {error}") from error
    finally:
        await pool.release(connection)
    if isinstance(reply, ResponseError):
        raise reply
    return reply


async def _trip(client: Redis, connection: Connection, commands: tuple[Command, ...]) -> Any:
    """The last command's reply, which may be an error. The connection is of no more use to anybody if this raises."""
    reply: Any = None
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        for command in commands:
            try:
                reply = await client.parse_response(connection, str(command[0]))
            except ResponseError as error:
                reply = error
    except BaseException:
        await connection.disconnect(nowait=True)  # what may still come must not answer the next one
        raise
    return reply
