"""What is around every method of a service: who calls, how long it took, and what a failure is to the caller."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from taskforge.domain.errors import InvalidArgument, TaskforgeError
from taskforge.runtime.errors import internal_error, to_status
from taskforge.runtime.metrics import RPC_ERRORS, RPC_SECONDS

#: Who calls, as the authenticator said. Set for the time of a call.
caller: ContextVar[str] = ContextVar("caller", default="")

Metadata = tuple[tuple[str, str | bytes], ...]
#: Takes the method's full name and the call's metadata; returns the caller's name or raises Unauthenticated.
Authenticator = Callable[[str, Metadata], str]

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
#: Takes a method's full name and its handler; returns the handler to use in its place.
Wrapper = Callable[[str, Handler], Handler]


def as_it_is(method: str, handler: Handler) -> Handler:
    """Leave a method open to everybody."""
    return handler


class Methods(grpc.GenericRpcHandler):
    """Takes the place of the server when generated code adds a servicer to it, and wraps each method once.

    An interceptor would wrap them anew for each call. And methods that gRPC knows by name cost more than those that it
    asks for here: it waits for the next call of each of them separately, and begins all this waiting anew with each.
    """

    def __init__(self, wrap: Wrapper) -> None:
        self._wrap = wrap
        self._handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Nothing to do: generated code offers the same methods by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add a service's methods."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._handlers[method] = self._wrap(method, handler)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a call, None if there is no such method."""
        return self._handlers.get(handler_call_details.method)


class Guard:
    """Authenticates the callers of a method, and turns whatever it raises into a status."""

    def __init__(self, authenticate: Authenticator) -> None:
        self._authenticate = authenticate

    def wrap(self, method: str, handler: Handler) -> Handler:
        """The same method, guarded."""
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, handler.unary_stream),
                _tolerant(handler.request_deserializer),
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary),
            _tolerant(handler.request_deserializer),
            handler.response_serializer,
        )

    def _unary(self, method: str, behaviour: Any) -> Any:
        seconds = RPC_SECONDS.labels(_short(method))

        async def call(request: Any, context: Context) -> Any:
            started = time.perf_counter()
            try:
                self._admit(method, context)
                return await behaviour(_readable(request), context)
            except asyncio.CancelledError as error:
                await _abort_if_wanted(context, method, error)
            except Exception as error:
                await _abort(context, method, error)
            finally:
                seconds.observe(time.perf_counter() - started)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            try:
                self._admit(method, context)
                async for response in behaviour(_readable(request), context):
                    yield response
            except asyncio.CancelledError as error:
                await _abort_if_wanted(context, method, error)
            except Exception as error:
                await _abort(context, method, error)

        return call

    def _admit(self, method: str, context: Context) -> None:
        caller.set(self._authenticate(method, tuple(context.invocation_metadata() or ())))


class _Malformed:
    """Stands for a request that is no message of its method."""

    def __init__(self, error: DecodeError) -> None:
        self.error = error


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Leave it to the handler to refuse what cannot be read: gRPC itself would call it a fault of the server.

    The edge puts a path's `%ff` into a text as it is.
    """
    assert deserialize is not None  # noqa: S101 -- generated code names one for each method

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


async def _abort_if_wanted(context: Context, method: str, error: asyncio.CancelledError) -> None:
    """Let go of a call that its caller has given up. Any other is a fault of ours, and must be told as one.

    Untold, it would end as gRPC ends calls that no handler has seen, and the edge would send it again.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error
    await _abort(context, method, RuntimeError("the work was cancelled, and the call was not"))


async def _abort(context: Context, method: str, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    known = error if isinstance(error, TaskforgeError) else internal_error(error)
    RPC_ERRORS.labels(_short(method), known.reason).inc()
    status = rpc_status.to_status(to_status(known))
    metadata = tuple(status.trailing_metadata)
    if known.retry_after is not None:
        # `RetryInfo` says it to gRPC clients; the edge passes this one on to HTTP clients.
        metadata += (("retry-after", str(math.ceil(known.retry_after))),)
    await context.abort(status.code, status.details, metadata)


def _short(method: str) -> str:
    return method.rpartition("/")[2]
