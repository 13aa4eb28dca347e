"""The connection pool, transactions, and the translation of driver errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from taskforge.domain.errors import Unavailable
from taskforge.failpoints import Point, reach
from taskforge.store.links import (
    LOST,
    SERVER_OPTIONS,
    Link,
    NotReplicated,
    Primary,
    is_lost,
    refuse_read_only,
    replicated,
)
from taskforge.store.queries import Query, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a server that may never answer is waited for, in seconds."""

    connect: float = 4.0  #: for all hosts of the URL together
    acquire: float = 5.0  #: for a connection to be free, or made
    command: float = 10.0  #: longer than `statement_timeout`: a server that is alive has answered by then
    leave: float = 2.0  #: for a rollback, a release, a goodbye


# The server enforces what a stuck client cannot: no statement, lock wait or idle transaction lasts for ever.
_SERVER_SETTINGS = {
    **SERVER_OPTIONS,
    "statement_timeout": "8000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "15000",
    "timezone": "UTC",
    # Every hot query knows its plan; JIT would cost more than it saves.
    "jit": "off",
}

#: For connections whose every query finds its rows by key. Until statistics catch up with a fresh partition the planner
#: would rather read all of it for each batch, which costs more the longer the week gets.
BY_KEY = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # With that, no value changes a plan, so that to plan for each call would cost time for nothing.
    "plan_cache_mode": "force_generic_plan",
}

#: For connections whose every list walks an index in the order that it shows. Without statistics, or with those of
#: another week, the planner would rather read everything and sort it.
IN_ORDER = {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_sort": "off"}

#: Errors after which the same transaction may be sent again: the server is away, restarting, read-only, full or busy,
#: or does not know this service yet.
_RETRYABLE: tuple[type[Exception], ...] = (
    *LOST,
    NotReplicated,
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


#: After so long a connection that nobody uses is closed: each costs the server some two megabytes.
_IDLE_SECONDS = 15.0

#: What the server undid by itself.
_UNDOING = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Undone(Unavailable):
    """Somebody else was in the way, and nothing was done."""


class Connection:
    """A connection that runs named queries of one file."""

    def __init__(self, raw: Any, queries: Mapping[str, Query]) -> None:
        self._raw = raw
        self._queries = queries

    def using(self, file: str) -> Connection:
        """The same connection, and the same transaction, with the queries of another file."""
        return Connection(self._raw, load(file))

    async def rows(self, name: str, /, **values: Any) -> list[Any]:
        """Run a query and return its rows."""
        query = self._queries[name]
        return list(await self._raw.fetch(query.sql, *query.arguments(values)))

    async def row(self, name: str, /, **values: Any) -> Any | None:
        """Run a query and return its first row, if any."""
        query = self._queries[name]
        return await self._raw.fetchrow(query.sql, *query.arguments(values))

    async def value(self, name: str, /, **values: Any) -> Any:
        """Run a query and return the first column of its first row."""
        query = self._queries[name]
        return await self._raw.fetchval(query.sql, *query.arguments(values))

    async def run(self, name: str, /, **values: Any) -> int:
        """Run a statement and return how many rows it touched."""
        query = self._queries[name]
        status: str = await self._raw.execute(query.sql, *query.arguments(values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0


class Database:
    """A pool for one service. `connect` is lazy, so a service starts while the database is away."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 4,
        application: str = "taskforge",
        settings: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._url = url
        self._size = size
        self._settings = {**_SERVER_SETTINGS, **(settings or {}), "application_name": application}
        self._limits = limits or Limits()
        self._primary = Primary(url)
        self._pool: Any = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self, file: str) -> AsyncIterator[Connection]:
        """A connection outside any transaction, for reads. Driver errors become Unavailable."""
        with translated():
            async with self._acquire() as raw:
                yield Connection(raw, load(file))

    @asynccontextmanager
    async def transaction(self, file: str) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction; it is rolled back when the block raises.

        After Unavailable the outcome is unknown: whatever is written must be safe to send again.
        """
        with translated():
            async with self._acquire() as raw, self._begun(raw):
                yield Connection(raw, load(file))
                await reach(Point.BEFORE_COMMIT, raising=asyncpg.ConnectionDoesNotExistError)
            await reach(Point.AFTER_COMMIT, raising=asyncpg.ConnectionDoesNotExistError)

    async def write(self, file: str, name: str, /, **values: Any) -> list[Any]:
        """Run one statement that is a transaction by itself, and return its rows.

        After Unavailable the outcome is unknown, except after Undone: whatever is written must be safe to send again.
        """
        with translated():
            async with self._acquire() as raw:
                await reach(Point.BEFORE_COMMIT, raising=asyncpg.ConnectionDoesNotExistError)
                async with replicated(raw):
                    rows = await Connection(raw, load(file)).rows(name, **values)
            await reach(Point.AFTER_COMMIT, raising=asyncpg.ConnectionDoesNotExistError)
        return rows

    @asynccontextmanager
    async def snapshot(self, file: str) -> AsyncIterator[Connection]:
        """A read-only transaction whose statements all see the database at one moment."""
        with translated():
            async with self._acquire() as raw, self._begun(raw, isolation="repeatable_read", readonly=True):
                yield Connection(raw, load(file))

    async def close(self) -> None:
        """Close the pool; connections that do not close in time are cut."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(self._limits.leave):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        pool = await self._open()
        raw = await pool.acquire(timeout=self._limits.acquire)
        try:
            yield raw
            refuse_read_only(raw)
        except BaseException as error:
            if is_lost(error):
                _cut(raw)
                # The others lead to the same server: whoever takes one next connects anew, to whichever takes writes.
                await pool.expire_connections()
            raise
        finally:
            # What cannot be released in time is closed by the pool; neither is for the caller to worry about.
            with suppress(Exception):
                await pool.release(raw, timeout=self._limits.leave)

    @asynccontextmanager
    async def _begun(self, raw: Any, **kind: Any) -> AsyncIterator[None]:
        """A transaction that does not ask a server that is gone to roll back."""
        transaction = raw.transaction(**kind)
        await transaction.start()
        try:
            yield
        except BaseException as error:
            try:
                if is_lost(error):
                    _cut(raw)
                else:
                    async with asyncio.timeout(self._limits.leave):
                        await transaction.rollback()
            except Exception:
                _cut(raw)
            raise
        async with replicated(raw):
            await transaction.commit()

    async def _open(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, **self._options())
        return self._pool

    def _options(self) -> dict[str, Any]:
        return {
            "min_size": 0,
            "max_size": self._size,
            "connect": self._primary.connect,
            "connection_class": Link,
            "timeout": self._limits.connect,
            "command_timeout": self._limits.command,
            "server_settings": self._settings,
            "reset": _keep_session,
            "max_inactive_connection_lifetime": _IDLE_SECONDS,
        }


def _cut(raw: Any) -> None:
    """Close a connection without a word: the server rolls back when it notices."""
    with suppress(asyncpg.InterfaceError):  # it has left the pool already
        raw.terminate()


async def _keep_session(raw: Any) -> None:
    """Nothing here changes a session beyond its transaction, so the usual RESET ALL is a round trip for nothing."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn driver errors that may pass into Unavailable."""
    try:
        yield
    except _RETRYABLE as error:
        if isinstance(error, ValueError):
            raise  # asyncpg files bad arguments under interface errors; sending them again would not help
        kind = type(error).__name__
        refused = Undone if isinstance(error, _UNDOING) else Unavailable
        raise refused("STORE_UNAVAILABLE", f"the database does not answer ({kind})", retry_after=1) from error
