"""The gRPC server of a service: limits, guarded methods, health."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from taskforge.runtime.guard import Authenticator, Guard, Methods, as_it_is
from taskforge.runtime.metrics import report_ready

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]


class CannotListen(Exception):
    """The address of a service is not to be had."""


class Server:
    """A grpc.aio server on one address, with health that follows readiness."""

    def __init__(self, listen: str, authenticate: Authenticator) -> None:
        self._listen = listen
        self._health = health_aio.HealthServicer()
        #: What `add_…Servicer_to_server` adds a service to.
        self.services = Methods(Guard(authenticate).wrap)
        unguarded = Methods(as_it_is)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, unguarded)
        self._grpc = grpc.aio.server(handlers=[self.services, unguarded], options=_OPTIONS)

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: another process does, or nobody could.
        """
        if self._listen.startswith("unix:"):
            await _make_room(Path(self._listen.removeprefix("unix:")))
        try:
            self._grpc.add_insecure_port(self._listen)
        except RuntimeError as error:  # as gRPC says that an address is taken or makes no sense
            raise CannotListen(f"cannot listen on {self._listen}: is it taken?") from error
        await self._grpc.start()

    async def set_ready(self, ready: bool) -> None:
        """Tell health checks whether to send work here."""
        serving = health_pb2.HealthCheckResponse.ServingStatus
        report_ready(ready)
        await self._health.set("", serving.SERVING if ready else serving.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Turn readiness off, let calls end for `grace` seconds, then stop."""
        await self.set_ready(False)
        await self._grpc.stop(grace)


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
