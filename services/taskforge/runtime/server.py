"""The gRPC server of a service: limits, one interceptor for tokens and errors, health."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_status import rpc_status

from taskforge.domain.errors import InvalidArgument, TaskforgeError
from taskforge.runtime.errors import internal_error, to_status
from taskforge.runtime.metrics import RPC_ERRORS, RPC_SECONDS, report_ready

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
HEALTH_PREFIX = "/grpc.health.v1.Health/"

#: Who calls, as the authenticator said. Set for the time of a call.
caller: ContextVar[str] = ContextVar("caller", default="")

Metadata = tuple[tuple[str, str | bytes], ...]
#: Takes the method's full name and the call's metadata; returns the caller's name or raises Unauthenticated.
Authenticator = Callable[[str, Metadata], Awaitable[str]]

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


class GuardInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates every method but health, and turns whatever is raised into a status."""

    def __init__(self, authenticate: Authenticator) -> None:
        self._authenticate = authenticate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler, whatever its kind; unknown methods have none."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(HEALTH_PREFIX):
            return handler
        metadata = tuple(details.invocation_metadata or ())
        method = details.method.rpartition("/")[2]
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(handler.unary_stream, details.method, method, metadata),
                _tolerant(handler.request_deserializer),
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, details.method, method, metadata),
            _tolerant(handler.request_deserializer),
            handler.response_serializer,
        )

    def _unary(self, behaviour: Any, full_name: str, method: str, metadata: Metadata) -> Any:
        seconds = RPC_SECONDS.labels(method)

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started = time.perf_counter()
            try:
                caller.set(await self._authenticate(full_name, metadata))
                return await behaviour(_readable(request), context)
            except Exception as error:
                await _abort(context, method, error)
            finally:
                seconds.observe(time.perf_counter() - started)

        return call

    def _streaming(self, behaviour: Any, full_name: str, method: str, metadata: Metadata) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                caller.set(await self._authenticate(full_name, metadata))
                async for response in behaviour(_readable(request), context):
                    yield response
            except Exception as error:
                await _abort(context, method, error)

        return call


class CannotListen(Exception):
    """The address of a service is not to be had."""


class _Malformed:
    """Stands for a request that is no message of its method."""

    def __init__(self, error: DecodeError) -> None:
        self.error = error


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Leave it to the handler to refuse what cannot be read: gRPC itself would call it a fault of the server.

    The edge puts a path's `%ff` into a text as it is.
    """

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return _Malformed(error)

    return read


def _readable(request: Any) -> Any:
    if isinstance(request, _Malformed):
        raise InvalidArgument("REQUEST_INVALID", f"the request cannot be read: {request.error}")
    return request


class Server:
    """A grpc.aio server on one address, with health that follows readiness."""

    def __init__(self, listen: str, authenticate: Authenticator) -> None:
        self._listen = listen
        self._health = health_aio.HealthServicer()
        self.grpc = grpc.aio.server(interceptors=[GuardInterceptor(authenticate)], options=_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: another process does, or nobody could.
        """
        if self._listen.startswith("unix:"):
            await _make_room(Path(self._listen.removeprefix("unix:")))
        try:
            self.grpc.add_insecure_port(self._listen)
        except RuntimeError as error:  # as gRPC says that an address is taken or makes no sense
            raise CannotListen(f"cannot listen on {self._listen}: is it taken?") from error
        await self.grpc.start()

    async def set_ready(self, ready: bool) -> None:
        """Tell health checks whether to send work here."""
        serving = health_pb2.HealthCheckResponse.ServingStatus
        report_ready(ready)
        await self._health.set("", serving.SERVING if ready else serving.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Turn readiness off, let calls end for `grace` seconds, then stop."""
        await self.set_ready(False)
        await self.grpc.stop(grace)


async def _make_room(socket: Path) -> None:
    """Remove a socket file that an earlier process left behind; never that of one that lives."""
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except FileNotFoundError:
        return
    except OSError:
        with suppress(FileNotFoundError):
            await asyncio.to_thread(socket.unlink)
        return
    writer.close()
    raise CannotListen(f"another process listens on {socket}")


async def _abort(context: grpc.aio.ServicerContext[Any, Any], method: str, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    known = error if isinstance(error, TaskforgeError) else internal_error(error)
    RPC_ERRORS.labels(method, known.reason).inc()
    status = rpc_status.to_status(to_status(known))
    metadata = tuple(status.trailing_metadata)
    if known.retry_after is not None:
        # `RetryInfo` says it to gRPC clients; the edge passes this one on to HTTP clients.
        metadata += (("retry-after", str(math.ceil(known.retry_after))),)
    await context.abort(status.code, status.details, metadata)
