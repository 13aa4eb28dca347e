"""Connecting to the server that takes writes, and noticing when it is gone."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.exceptions import InternalClientError

from taskforge.store import dsn

_GOODBYE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
#: Where the server's warning comes from; its text is in the server's language.
_GAVE_UP = "SyncRepWaitForLSN"

#: A peer that neither answers probes nor acknowledges data for about ten seconds is gone.
_SOCKET_OPTIONS = {
    "TCP_KEEPIDLE": 4,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,
}
#: The same from the server's side, so that a dead client's locks are let go of.
SERVER_OPTIONS = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_connection_check_interval": "2000",
}


#: Errors that say nothing about the statement and everything about the server or the way to it.
LOST: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.ReadOnlySQLTransactionError,
    InternalClientError,  # no host takes writes, or the server died in the middle of an answer
    OSError,
    TimeoutError,
)


class NotReplicated(Exception):
    """The server has committed, and does not know whether its standby has: it was told to stop waiting for it."""


@asynccontextmanager
async def replicated(raw: Any) -> AsyncIterator[None]:
    """Around a commit, which is believed only if the standbys that count have it.

    A server that stops waiting for its standby, because somebody cancelled that, says COMMIT all the same, and warns.

    Raises:
        NotReplicated: a failover now would lose what was committed.
    """
    warnings: list[Any] = []

    def listen(_: Any, message: Any) -> None:
        warnings.append(message)

    raw.add_log_listener(listen)
    try:
        yield
    finally:
        with suppress(asyncpg.InterfaceError):  # the connection may be gone
            raw.remove_log_listener(listen)
    if any(warning.server_source_function == _GAVE_UP for warning in warnings):
        raise NotReplicated


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no further use. For asyncpg bad arguments are interface errors too."""
    return isinstance(error, LOST) and not isinstance(error, ValueError)


def refuse_read_only(raw: Any) -> None:
    """Notice, without asking, that the server takes no writes any more: it reports these settings with its answers.

    Another one may take them by now, so that what was just read may be old.

    Raises:
        asyncpg.ReadOnlySQLTransactionError: as if something had been written.
    """
    settings = raw.get_settings()
    for name in ("default_transaction_read_only", "in_hot_standby"):
        if getattr(settings, name, "off") == "on":
            raise asyncpg.ReadOnlySQLTransactionError(f"{name} is on")


class Link(asyncpg.Connection):
    """A connection that does not wait for a host that is gone, neither to speak nor to leave."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        _keep_alive(transport.get_extra_info("socket"))

    async def close(self, *, timeout: float | None = None) -> None:
        """Say goodbye to a server that listens; leave any other without."""
        try:
            await super().close(timeout=min(timeout or _GOODBYE_SECONDS, _GOODBYE_SECONDS))
        except Exception:
            self.terminate()


class Primary:
    """Connects to the one of several hosts that takes writes. The one that did so last is asked first.

    Each host gets an equal share of the time, so that one that swallows packets leaves enough for the next. While none
    answers, one caller at a time tries, with a pause after each failure: many callers do not become a storm.
    """

    def __init__(self, url: str) -> None:
        self._hosts: tuple[dsn.Host | None, ...] = dsn.hosts(url) or (None,)
        self._first = 0
        self._is_lost = False
        self._turn = asyncio.Lock()

    async def connect(self, url: str, *, timeout: float, **options: Any) -> Any:
        """What the pool calls for a new connection."""
        if not self._is_lost:
            return await self._connect(url, timeout, options)
        async with self._turn:
            try:
                return await self._connect(url, timeout, options)
            except Exception:
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads load
                raise

    async def _connect(self, url: str, timeout: float, options: dict[str, Any]) -> Any:
        count = len(self._hosts)
        first = self._first
        failure: BaseException | None = None
        for number in range(first, first + count):
            index = number % count
            try:
                link = await self._try(self._hosts[index], url, {**options, "timeout": timeout / count})
            except BaseException as error:
                # Remembered at once: whoever runs out of time here begins with the next host then.
                self._first, self._is_lost = (index + 1) % count, True
                if not isinstance(error, (*LOST, asyncpg.TooManyConnectionsError)):
                    raise
                failure = error
            else:
                self._first, self._is_lost = index, False
                return link
        assert failure is not None  # noqa: S101 -- there is at least one host
        raise failure

    @staticmethod
    async def _try(host: dsn.Host | None, url: str, options: dict[str, Any]) -> Any:
        place: dict[str, Any] = {} if host is None else {"host": host[0], "port": host[1]}
        return await asyncpg.connect(url, **{**options, **place, "target_session_attrs": SessionAttribute.read_write})


def _keep_alive(connection: socket.socket) -> None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _SOCKET_OPTIONS.items():
            if hasattr(socket, name):  # some systems lack some of them
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
