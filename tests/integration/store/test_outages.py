"""Servers that do not answer: every call ends in time, and the pool is of use again as soon as there is a server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from taskforge.domain.errors import Unavailable
from taskforge.runtime.ids import new_id
from taskforge.store.pool import Database, Limits
from tests.chaos.parts.postgres_node import LOOPBACK, Node, running_node
from tests.chaos.parts.proxy import Link, fault_proxy
from tests.chaos.parts.replication import DATABASE, migrated
from tests.support.places import short_folder
from tests.support.waiting import eventually

_LIMITS = Limits(connect=0.6, acquire=0.8, command=1.0, leave=0.3)
#: What a call may take at most, and a busy machine on top of it.
_PATIENCE_SECONDS = sum((_LIMITS.acquire, _LIMITS.command, 2 * _LIMITS.leave)) + 1.5
_SIZE = 4


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with short_folder() as folder, running_node(folder) as node:
        migrated(node)
        yield node


@pytest.fixture
def cable(node: Node) -> Iterator[Link]:
    """To the server, by another address."""
    with fault_proxy() as proxy:
        yield proxy.open("cable", listen=f"{LOOPBACK}:0", upstream=node.address)


@asynccontextmanager
async def opened(*addresses: str) -> AsyncIterator[Database]:
    """An impatient pool over servers at these addresses."""
    pool = Database(f"postgresql://taskforge_ingest@{','.join(addresses)}/{DATABASE}", size=_SIZE, limits=_LIMITS)
    try:
        yield pool
    finally:
        await pool.close()


async def read(pool: Database) -> float:
    """Run a statement in a transaction; returns how long it took, or raises Unavailable."""
    started = time.monotonic()
    try:
        async with pool.transaction("deliveries") as connection:
            await connection.run("accept_deliveries", delivery_ids=[new_id()])
    finally:
        assert time.monotonic() - started < _PATIENCE_SECONDS
    return time.monotonic() - started


async def all_fail(pool: Database) -> None:
    """More callers than connections, each of which is told in time."""
    outcomes = await asyncio.gather(*(read(pool) for _ in range(3 * _SIZE)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_a_frozen_server_holds_nobody_and_is_of_use_once_it_goes_on(node: Node) -> None:
    async with opened(node.address) as pool:
        await asyncio.gather(*(read(pool) for _ in range(_SIZE)))
        node.freeze()
        try:
            await all_fail(pool)  # with connections that worked
            await all_fail(pool)  # with none
        finally:
            node.thaw()
        assert await read(pool) < 1.0
        await asyncio.gather(*(read(pool) for _ in range(3 * _SIZE)))


async def test_a_caller_that_is_cancelled_while_the_server_is_frozen_leaves_at_once(node: Node) -> None:
    async with opened(node.address) as pool:
        await read(pool)
        node.freeze()
        try:
            call = asyncio.create_task(read(pool))
            await eventually(lambda: _assert_busy(pool))
            started = time.monotonic()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert time.monotonic() - started < 2 * _LIMITS.leave + 0.5
        finally:
            node.thaw()
        await read(pool)


async def test_a_host_that_swallows_everything_leaves_time_for_the_next(node: Node, cable: Link) -> None:
    cable.blackhole()
    async with opened(cable.address, node.address) as pool:
        assert await read(pool) < _LIMITS.connect + 0.5
        # From then on the other one comes first.
        assert max(await asyncio.gather(*(read(pool) for _ in range(3 * _SIZE)))) < _LIMITS.connect / 2


async def test_connections_to_a_host_that_is_gone_are_given_up_for_the_other(node: Node, cable: Link) -> None:
    async with opened(cable.address, node.address) as pool:
        await asyncio.gather(*(read(pool) for _ in range(_SIZE)))
        cable.blackhole()
        with pytest.raises(Unavailable):
            await read(pool)
        # One has told: nobody waits for the others any more.
        assert max(await asyncio.gather(*(read(pool) for _ in range(2 * _SIZE)))) < _LIMITS.command


async def test_many_callers_without_a_server_are_no_storm() -> None:
    attempts = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    server = await asyncio.start_server(refuse, LOOPBACK, 0)
    async with server, opened(f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}") as pool:
        started = time.monotonic()
        for _ in range(3):
            await asyncio.gather(*(read(pool) for _ in range(40)), return_exceptions=True)
        seconds = time.monotonic() - started
    # An attempt is two connections: the first asks for TLS.
    assert attempts <= 2 * (_SIZE + 20 * seconds)


async def test_a_gone_host_is_noticed_by_its_silence(node: Node) -> None:
    async with opened(node.address) as pool, pool.connection("deliveries") as connection:
        endpoint = connection._raw._transport.get_extra_info("socket")
        assert endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert endpoint.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


def _assert_busy(pool: Database) -> None:
    assert pool._pool.get_idle_size() == 0
