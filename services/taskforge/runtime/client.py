"""Channels to other services."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc

from taskforge.runtime.errors import from_rpc_error
from taskforge.runtime.server import MAX_MESSAGE_BYTES

Response = TypeVar("Response")

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanishes without a word is left within ten seconds: well within a lease, and within the patience of
    # those who wait. Also while nobody calls, so that the next one who does finds a connection that lives.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a minute by default, whatever the line above says
    ("grpc.keepalive_permit_without_calls", 1),
    # Else pings end after two on which nothing was said, and with them all that they are for.
    ("grpc.http2.max_pings_without_data", 0),
    # Default reconnect back-off grows to two minutes; a restarted peer must be found within a second or two.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Channels of one process to one address must not share a connection that one of them closes.
    ("grpc.use_local_subchannel_pool", 1),
]


class Peer:
    """A channel to one service, and the internal token that its calls carry."""

    def __init__(self, address: str, token: str, *, unavailable_reason: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self.metadata = (("authorization", f"Bearer {token}"),)
        self._unavailable_reason = unavailable_reason

    async def call(self, method: Any, request: Any, *, timeout: float) -> Any:
        """Call a stub's method; a failure is raised as our error.

        Args:
            method: a method of a generated stub that was made on `channel`.
            request: its request message.
            timeout: seconds. After it the outcome is unknown, as after any broken connection.
        """
        return await self.translate(method(request, timeout=timeout, metadata=self.metadata))

    async def translate(self, call: Awaitable[Response]) -> Response:
        """Await an RPC and raise its failure as our error."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, unavailable_reason=self._unavailable_reason) from error

    async def close(self) -> None:
        """Close the channel."""
        await self.channel.close()
