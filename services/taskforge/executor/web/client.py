"""Requests and their answers over kept connections: aiohttp's connector and parser, without its session.

A session does for every request what nobody here asks for, at half of the request's cost: cookies, proxies, redirects,
tracing. And it sends GET, PUT and DELETE again when a connection breaks: a second effect in one attempt, of which the
retry policy and `at_most_once` know nothing.
"""

from __future__ import annotations

from functools import lru_cache
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from taskforge.executor.web.connection import Connector
from taskforge.executor.web.egress import EgressPolicy
from taskforge.executor.web.request import Request

CONNECT_SECONDS = 10.0  #: until a connection is given up as never made, which is always safe to repeat

# Servers close idle connections after two seconds and more. A request on a connection that is being closed is lost
# without anybody knowing whether it was seen, so idle ones are not kept for longer than the quickest server does.
_KEEP_SECONDS = 1.5
_ORIGINS = 1000
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)  # the step's own deadline is total


class Answer:
    """An answer whose head has come. Leaving its `with` block gives the connection back if the body was read."""

    __slots__ = ("_connection", "content", "headers", "reason", "status")

    def __init__(self, connection: Connection, head: RawResponseMessage, content: StreamReader) -> None:
        self.status = head.code
        self.reason = head.reason
        self.headers = head.headers
        self.content = content
        self._connection = connection

    def close(self) -> None:
        """Give up the rest of the body, and the connection with it."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.release()  # which closes it if anything of the answer is left


class Client:
    """Sends requests. What it raises: aiohttp's ClientError and HttpProcessingError, OSError, ValueError."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._connector = Connector(
            limit=0,  # the executor's slots are the limit
            keepalive_timeout=_KEEP_SECONDS,
            ttl_dns_cache=10,
            socket_factory=policy.make_socket,
        )
        # To the connector, a request is the address to connect to. These are made once, and never sent.
        self._address = lru_cache(maxsize=_ORIGINS)(lambda origin: aiohttp.ClientRequest("GET", origin))

    async def send(self, request: Request) -> Answer:
        """Send a request, once, and wait for the head of its answer."""
        head = request.head()
        try:
            connection = await self._connector.connect(self._address(request.url.origin()), [], _TIMEOUT)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            return Answer(connection, *await _exchange(connection, request, head))
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()


async def _exchange(connection: Connection, request: Request, head: bytes) -> tuple[RawResponseMessage, StreamReader]:
    """Send a request over a connection; the last head of its answer, and what its body comes through."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(skip_payload=request.method == "HEAD", read_until_eof=True, auto_decompress=False)
    unsent = request.body or b""
    if not request.expects_continue:
        head, unsent = head + unsent, b""
    transport.write(head)
    while True:
        message, content = await protocol.read()
        if message.code == 100 and unsent:
            transport.write(unsent)
            unsent = b""
        elif message.code >= 200 or message.code == 101:
            if unsent or transport.get_write_buffer_size():
                protocol.force_close()  # the other side may take the next request for the rest of this one
            return message, content
