"""The hint stream in a real cluster whose master of that stream is lost: hints dry up, and then flow again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from taskforge.bus.consumer import HintConsumer
from taskforge.bus.producer import HintProducer
from taskforge.bus.streams import EXECUTORS, HINT_STREAM, StepKey
from taskforge.runtime.ids import new_id
from tests.chaos.parts.valkey_cluster import ValkeyCluster, ask, valkey_cluster
from tests.support.places import short_folder
from tests.support.valkey import Valkey


class Flow:
    """A producer and a consumer at work. Hints are published all the time, as the sweep would."""

    def __init__(self, url: str) -> None:
        self.producer = HintProducer(url)
        self.consumer = HintConsumer(url)
        self.slowest_publish = 0.0
        self.seen: set[StepKey] = set()

    async def until(self, look: Callable[[], bool], within: float = 30.0) -> None:
        """Publish and read until something holds."""
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(within):
            while not look():
                before = clock()
                self.producer.publish([(new_id(), 0)])
                self.slowest_publish = max(self.slowest_publish, clock() - before)
                self.seen.update(await self.consumer.read(64, 50))

    async def flows(self) -> None:
        """Wait until a hint that is published now arrives."""
        before = len(self.seen)
        await self.until(lambda: len(self.seen) > before and self.consumer.healthy and self.producer.healthy)

    async def while_(self, work: Awaitable[object]) -> None:
        """Publish and read while something happens."""
        task = asyncio.ensure_future(work)
        await self.until(task.done, within=60)
        await task


@contextlib.asynccontextmanager
async def flow(url: str) -> AsyncIterator[Flow]:
    found = Flow(url)
    await found.producer.start()
    try:
        yield found
    finally:
        await found.producer.close()
        await found.consumer.close()


def lines_a_second(logs: Sequence[Mapping[str, object]], seconds: float) -> float:
    return len([line for line in logs if line["log_level"] != "debug"]) / max(seconds, 1.0)


@pytest.fixture(scope="module")
def replicated() -> Iterator[ValkeyCluster]:
    with short_folder() as folder, valkey_cluster(folder, replicas=1) as cluster:
        yield cluster


async def test_hints_flow_whichever_node_is_named_first(replicated: ValkeyCluster) -> None:
    for node in replicated.nodes:
        async with flow(f"redis+cluster://127.0.0.1:{node.port}") as found:
            await found.flows()


async def lose(cluster: ValkeyCluster, lost: Valkey) -> Valkey:
    """Wait, off the loop, until another node has taken over."""
    return await asyncio.to_thread(cluster.wait_for_new_owner, lost)


async def test_hints_flow_again_after_the_failover_of_a_killed_master(replicated: ValkeyCluster) -> None:
    clock = asyncio.get_running_loop().time
    async with flow(replicated.url) as found:
        await found.flows()
        lost, began = replicated.owner(), clock()
        with capture_logs() as logs:
            lost.stop()
            await found.until(lambda: not found.consumer.healthy)
            await found.while_(lose(replicated, lost))
            over = clock()
            await found.flows()
            assert clock() - over < 5
        assert lines_a_second(logs, clock() - began) <= 2  # a producer and a consumer
        assert found.slowest_publish < 0.1
        lost.start()  # comes back as a replica
        await found.while_(asyncio.to_thread(replicated.wait_until_whole))
        await found.flows()


async def test_hints_flow_again_after_a_master_froze(replicated: ValkeyCluster) -> None:
    async with flow(replicated.url) as found:
        await found.flows()
        lost = replicated.owner()
        lost.freeze()
        try:
            await found.until(lambda: not found.consumer.healthy)
            await found.while_(lose(replicated, lost))
            await found.flows()
            assert found.slowest_publish < 0.1
        finally:
            lost.thaw()
        await found.while_(asyncio.to_thread(replicated.wait_until_whole))
        await found.flows()


async def test_a_manual_failover_under_a_blocked_reader_is_followed(replicated: ValkeyCluster) -> None:
    async with flow(replicated.url) as found:
        await found.flows()
        old = replicated.owner()
        heir = next(node for node in replicated.nodes if "role:slave" in node.answer("INFO replication").decode())
        ask(heir, "CLUSTER", "FAILOVER")
        await found.while_(lose(replicated, old))
        await found.flows()


async def test_without_a_replica_hints_wait_for_the_lost_master_which_comes_back_empty(folder: Path) -> None:
    with valkey_cluster(folder) as cluster:
        async with flow(cluster.url) as found:
            await found.flows()
            lost = cluster.owner()
            lost.stop()
            await found.while_(asyncio.to_thread(cluster.wait_until_down))
            assert not found.consumer.healthy
            assert not found.producer.healthy
            lost.start()
            await found.while_(asyncio.to_thread(cluster.wait_until_whole))
            await found.flows()
        client = Redis(unix_socket_path=str(lost.socket))
        assert [group["name"] for group in await client.xinfo_groups(HINT_STREAM)] == [EXECUTORS.encode()]
        await client.aclose()
