"""Calls of the public API, and what their failures mean to a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

# gRPC's own log lines would stand between ours; what they say is in the errors, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import CliError, server_error

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from taskforge_cli.context import Server

M = TypeVar("M", bound="Message")

CALL_SECONDS = 30.0
MAX_PAGE = 500
_PACKAGE = "taskforge.v1"
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: A connection that says nothing is tried after this long, and given up when it stays silent for as long again.
_SILENCE_MS = 10_000
_FORBIDDEN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class Client:
    """One connection to a server. Methods are named `Service/Method`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", _SILENCE_MS),
            ("grpc.keepalive_timeout_ms", _SILENCE_MS),
            ("grpc.http2.ping_timeout_ms", _SILENCE_MS),  # a minute by default, whatever the line above says
            # A proxy of the environment is for the outside world.
            ("grpc.enable_http_proxy", 0 if server.is_local else 1),
        ]
        self._channel = (
            grpc.secure_channel(server.target, grpc.ssl_channel_credentials(), options)
            if server.is_secure
            else grpc.insecure_channel(server.target, options)
        )
        self._metadata = (("authorization", f"Bearer {server.token}"),) if server.token else ()

    def call(self, method: str, request: Message, answer: type[M], *, timeout: float = CALL_SECONDS) -> M:
        """Make a call.

        Raises:
            CliError: it failed.
        """
        stub = self._channel.unary_unary(
            f"/{_PACKAGE}.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            found: M = stub(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self.explain(error) from error
        return found

    def pages(self, method: str, request: Any, answer: type[M], *, limit: int) -> Iterator[M]:
        """Make a list call as often as needed for `limit` items; yields whole answers."""
        left = limit
        while True:
            request.page_size = min(left, MAX_PAGE)
            found = self.call(method, request, answer)
            yield found
            left -= request.page_size
            request.page_token = getattr(found, "next_page_token")  # noqa: B009  every list answer has it
            if left <= 0 or not request.page_token:
                return

    def stream(self, method: str, request: Message, answer: type[M], *, timeout: float | None = None) -> Stream[M]:
        """Open a stream; it ends with the call, after `timeout` seconds, or with `cancel`."""
        stub = self._channel.unary_stream(
            f"/{_PACKAGE}.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return Stream(self, stub(request, timeout=timeout, metadata=self._metadata))

    def explain(self, error: grpc.RpcError) -> CliError:
        """What a failed call means."""
        status, message = error.code(), error.details() or ""
        told = _told(error)
        if told is not None:
            return told
        if status is grpc.StatusCode.UNAVAILABLE:
            return self._unreachable(message)
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            hints = ["look at it with: taskforge status"]
            return CliError("CALL_TIMED_OUT", f"{self.server.described} did not answer in time", hints=hints)
        if status is grpc.StatusCode.UNIMPLEMENTED:
            hints = ["compare both sides with: taskforge version", "is there a TaskForge behind that URL?"]
            return CliError("SERVER_MISMATCH", f"{self.server.described} does not know this call", hints=hints)
        if "RST_STREAM" in message or "Stream removed" in message:
            hints = ["what was asked may have happened: look before you repeat it"]
            return CliError("CONNECTION_LOST", f"the connection to {self.server.url} broke", hints=hints)
        if status in _FORBIDDEN:
            return server_error("TOKEN_INVALID", message or "the server did not accept the token", hint="")
        return CliError("UNEXPECTED", f"{status.name}: {message}", exit_code=ExitCode.ERROR)

    def _unreachable(self, message: str) -> CliError:
        hints = ["start it with: taskforge up", "or look deeper: taskforge doctor"]
        if not self.server.is_local:
            hints = ["choose another server with: taskforge context use NAME"]
        return CliError("SERVER_UNREACHABLE", f"cannot reach {self.server.described}: {_cause(message)}", hints=hints)


class Stream(Iterator[M]):
    """Messages as they come. `cancel` ends it from this side."""

    def __init__(self, client: Client, call: Any) -> None:
        self._client = client
        self._call = call

    def __next__(self) -> M:
        try:
            found: M = next(self._call)
        except grpc.RpcError as error:
            raise self._client.explain(error) from error
        return found

    def cancel(self) -> None:
        """Tell the server that nobody listens any more."""
        self._call.cancel()


def _told(error: grpc.RpcError) -> CliError | None:
    """The error as the server has told it, if it has told a reason."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    if status is None or not info.reason:
        return None
    details = [{"field": found.field, "description": found.description} for found in bad.field_violations]
    return server_error(info.reason, status.message, hint=info.metadata.get("hint", ""), details=details)


def _cause(message: str) -> str:
    """The part of gRPC's message that says something to people."""
    for known, words in (
        ("Connection refused", "connection refused"),
        ("DNS resolution failed", "the host's name is not known"),
        ("No such file", "no such host"),
        ("Timeout", "no answer"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
        ("Failed parsing HTTP/2", "what answers there does not speak gRPC; is it a TaskForge?"),
        ("WRONG_VERSION_NUMBER", "it does not speak TLS; is the URL http, not https?"),
    ):
        if known.lower() in message.lower():
            return words
    return message.splitlines()[0][:200] if message else "no answer"
