"""A Redis that is full, forgetful, read-only, loading, or none at all: told once, survived, and come back from."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError
from structlog.testing import capture_logs

from taskforge.bus import health
from taskforge.bus.consumer import HintConsumer
from taskforge.bus.link import Link
from taskforge.bus.producer import HintProducer
from taskforge.bus.streams import HINT_STREAM, StepKey
from taskforge.runtime.ids import new_id
from tests.support.places import free_port
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

OUTAGE_SECONDS = 3.0
Lines = Sequence[Mapping[str, object]]


@pytest.fixture
def own_valkey(folder: Path) -> Iterator[Valkey]:
    """A server that a test may spoil. It starts empty, with snapshots where they are asked for."""
    server = Valkey(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Bus:
    """Both sides."""

    def __init__(self, url: str) -> None:
        self.producer, self.consumer = HintProducer(url), HintConsumer(url)

    async def turn(self) -> set[StepKey]:
        """Do once what scheduler and executor do all the time."""
        self.producer.publish([(new_id(), 0)])
        await self.producer.trim()
        await self.producer.backlog()
        return set(await self.consumer.read(64, 20))

    async def until(self, look: Callable[[], bool], within: float = 20.0) -> None:
        """Work until something holds."""
        async with asyncio.timeout(within):
            while not look():
                await self.turn()

    async def flows(self) -> None:
        """Wait until hints arrive again and both sides know it."""
        async with asyncio.timeout(20):
            while not await self.turn() or not self.healthy:
                pass

    async def work_for(self, seconds: float) -> None:
        """Work for so long."""
        with contextlib.suppress(TimeoutError):
            await self.until(lambda: False, within=seconds)

    @property
    def healthy(self) -> bool:
        return self.producer.healthy and self.consumer.healthy


@contextlib.asynccontextmanager
async def open_bus(url: str) -> AsyncIterator[Bus]:
    found = Bus(url)
    await found.producer.start()
    try:
        yield found
    finally:
        await found.producer.close()
        await found.consumer.close()


@contextlib.asynccontextmanager
async def at_work(valkey: Valkey) -> AsyncIterator[tuple[Bus, Redis]]:
    """A bus on which hints flow, and a client to spoil the server with."""
    client = Redis(unix_socket_path=str(valkey.socket))
    try:
        async with open_bus(valkey.url) as bus:
            await bus.flows()
            yield bus, client
    finally:
        await client.aclose()


def events(lines: Lines, event: str) -> Lines:
    return [line for line in lines if line["event"] == event]


def look_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_LOOK_SECONDS", 0.0)


async def test_a_server_that_may_evict_hints_is_unhealthy_and_still_used(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_all_the_time(monkeypatch)
    async with at_work(own_valkey) as (bus, _):
        own_valkey.configure("maxmemory", "64mb")
        for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random"):
            own_valkey.configure("maxmemory-policy", policy)
            with capture_logs() as logs:
                for _ in range(3):
                    await bus.turn()
            assert not bus.producer.healthy
            assert not bus.consumer.healthy
            told = [line["policy"] for line in events(logs, "redis_may_evict_hints")]
            assert set(told) == {policy}
            assert len(told) <= 2  # the producer and the consumer, however often they look
            assert REGISTRY.get_sample_value("taskforge_redis_may_evict") == 1
            seen: set[StepKey] = set()
            async with asyncio.timeout(10):
                while not seen:
                    seen = await bus.turn()
        for policy in ("volatile-lru", "noeviction"):  # what never expires is never volatile
            own_valkey.configure("maxmemory-policy", policy)
            await bus.flows()
        assert REGISTRY.get_sample_value("taskforge_redis_may_evict") == 0


async def test_a_policy_that_changes_behind_an_open_connection_is_noticed_soon(own_valkey: Valkey) -> None:
    async with at_work(own_valkey) as (bus, _):
        own_valkey.configure("maxmemory", "64mb")
        own_valkey.configure("maxmemory-policy", "allkeys-lru")
        await bus.until(lambda: not bus.producer.healthy and not bus.consumer.healthy)


async def test_a_policy_without_a_limit_evicts_nothing(own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    look_all_the_time(monkeypatch)
    own_valkey.configure("maxmemory-policy", "allkeys-lru")
    async with at_work(own_valkey) as (bus, _):
        await bus.flows()


async def test_where_info_is_forbidden_nothing_is_known_and_nothing_said(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_all_the_time(monkeypatch)
    own_valkey.configure("maxmemory", "64mb")
    own_valkey.configure("maxmemory-policy", "allkeys-lru")
    assert own_valkey.answer("ACL SETUSER default -info -config") == b"+OK"
    with capture_logs() as logs:
        async with at_work(own_valkey) as (bus, _):
            await bus.flows()
    assert not events(logs, "redis_may_evict_hints")


async def test_a_login_that_may_use_the_stream_and_nothing_else_is_enough(own_valkey: Valkey) -> None:
    commands = "+xadd +xreadgroup +xdel +xtrim +xgroup +xinfo +time"
    assert own_valkey.answer(f"ACL SETUSER hints on >word ~taskforge:hints -@all {commands}") == b"+OK"
    with capture_logs() as logs:
        async with open_bus(f"unix://hints:word@{own_valkey.socket}") as bus:
            await bus.flows()
    assert {line["event"] for line in logs} == {"hints_available"}


async def test_a_full_server_refuses_hints_and_nobody_minds(own_valkey: Valkey) -> None:
    async with at_work(own_valkey) as (bus, client):
        with capture_logs() as logs:
            await client.set("taskforge:ballast", b"x" * 3_000_000)
            own_valkey.configure("maxmemory", "2mb")
            await bus.until(lambda: not bus.producer.healthy)
            await bus.work_for(OUTAGE_SECONDS)  # other commands get through, which must not look like an end of it
            assert not bus.producer.healthy
            assert bus.consumer.healthy
            own_valkey.configure("maxmemory", "0")
            await bus.flows()
        assert len(events(logs, "hints_unavailable")) == 1
        assert "OutOfMemory" in str(events(logs, "hints_unavailable")[0]["error"])


async def test_a_server_that_became_a_replica_is_left_until_it_is_none(own_valkey: Valkey) -> None:
    clock = asyncio.get_running_loop().time
    async with at_work(own_valkey) as (bus, client):
        began = clock()
        with capture_logs() as logs:
            await client.replicaof("127.0.0.1", 1)
            await bus.until(lambda: not bus.producer.healthy and not bus.consumer.healthy)
            await client.replicaof("NO", "ONE")
            await bus.flows()
        assert len(logs) <= 2 * (clock() - began + 2)


async def test_a_connection_that_opens_while_its_server_is_being_left_is_closed(folder: Path) -> None:
    server = Valkey(folder, port=free_port())
    names_resolve = threading.Event()
    try:
        server.start()
        link = Link(f"redis://localhost:{server.port}", answer_seconds=5.0)
        await link.run(("TIME",))
        server.answer("REPLICAOF 127.0.0.1 1")
        resolver = ThreadPoolExecutor(1)
        resolver.submit(names_resolve.wait)
        asyncio.get_running_loop().set_default_executor(resolver)
        refused = asyncio.create_task(link.run(("XADD", "stream", "*", "field", "value")))  # over the open connection
        opening = asyncio.create_task(link.run(("TIME",)))
        with pytest.raises(ReadOnlyError):
            await refused
        names_resolve.set()
        await asyncio.gather(opening, return_exceptions=True)
        await link.close()
        await eventually(lambda: only_one_who_asks(server))
    finally:
        names_resolve.set()
        server.stop()


def only_one_who_asks(server: Valkey) -> None:
    assert b"connected_clients:1\r\n" in server.answer("INFO clients")


async def test_something_else_under_the_streams_name_is_left_alone(own_valkey: Valkey) -> None:
    async with at_work(own_valkey) as (bus, client):
        await client.set(HINT_STREAM, "mine")
        await bus.until(lambda: not bus.producer.healthy and not bus.consumer.healthy)
        assert await client.get(HINT_STREAM) == b"mine"
        await client.delete(HINT_STREAM)
        await bus.flows()


async def test_a_server_that_loads_its_data_is_waited_for(own_valkey: Valkey) -> None:
    async with at_work(own_valkey) as (bus, client):
        await client.mset({f"taskforge:{index}": "x" * 100 for index in range(2000)})
        own_valkey.save()
        own_valkey.stop()
        own_valkey.settings["key-load-delay"] = "1000"  # microseconds: two seconds in all
        own_valkey.settings["loading-process-events-interval-bytes"] = "1024"
        with capture_logs() as logs:
            own_valkey.spawn()
            await bus.until(lambda: not bus.producer.healthy and not bus.consumer.healthy)
            await bus.flows()
        assert any("BusyLoading" in str(line.get("error")) for line in logs) or len(logs) >= 2


async def test_an_old_snapshot_brings_back_old_hints_and_no_harm(own_valkey: Valkey) -> None:
    async with at_work(own_valkey) as (bus, client):
        own_valkey.save()
        await bus.flows()
        own_valkey.restart()
        await bus.flows()
        assert (await client.xinfo_groups(HINT_STREAM))[0]["pending"] == 0


async def test_a_stream_that_is_emptied_all_the_time_does_not_fill_the_log(own_valkey: Valkey) -> None:
    async with at_work(own_valkey) as (bus, client):
        with capture_logs() as logs:
            flushing = asyncio.create_task(flush_for(client, OUTAGE_SECONDS))
            await bus.until(flushing.done)
            await flushing
            await bus.flows()
        assert len(logs) <= 2 * (OUTAGE_SECONDS + 3)


async def flush_for(client: Redis, seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await client.flushall()


async def test_whatever_answers_in_place_of_redis_raises_nothing(folder: Path) -> None:
    """Not Redis at all: greets like a mail server, answers with half of a number, or hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(64)
            writer.write(answers[0])
            await writer.drain()
        writer.close()

    path = str(folder / "nonsense.sock")
    server = await asyncio.start_unix_server(talk, path)
    with capture_logs() as logs:
        for answer in (b"220 mail\r\n", b":12x\r\n", b"*-7\r\n$x\r\n", b"-MOVED\r\n", b"-MOVED 1 nowhere\r\n", b""):
            answers = [answer]
            async with open_bus(f"unix://{path}") as bus:
                for _ in range(3):
                    assert await bus.turn() == set()
                assert not bus.healthy
    server.close()
    assert not [line for line in logs if line["log_level"] == "error"]
