"""Hints forged, stolen, doubled and thrown away under a real scheduler and executors: every run ends, and ends once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from taskforge.bus.streams import HINT_STREAM, READER, StepKey
from tests.chaos.parts import valkey_forgery as forgery
from tests.chaos.parts.valkey_cluster import ValkeyCluster, valkey_cluster
from tests.integration.executor.conftest import Floor
from tests.support.target import Target
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

CALL = """
name: demo
steps:
  - {{id: a, http: {{method: POST, url: "{url}"}}}}
  - {{id: b, transform: {{value: "${{{{ steps.a.output.status }}}}"}}}}
output: ${{{{ steps.b.output }}}}
"""


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Redis]:
    found = Redis(unix_socket_path=str(valkey.socket))
    yield found
    await found.aclose()


@pytest.fixture
def cluster(folder: Path) -> Iterator[ValkeyCluster]:
    with valkey_cluster(folder, replicas=1) as found:
        yield found


async def all_end_once(floor: Floor, target: Target, steps: list[StepKey], *, within: float = 30.0) -> None:
    """Every run SUCCEEDED, each made its request once, and nobody was surprised."""
    for run_id, _ in steps:
        assert (await floor.ended(run_id, within=within)).state == "SUCCEEDED"
    keys = [request.headers["idempotency-key"] for request in target.on("/call")]
    assert len(keys) == len(set(keys)) == len(steps)
    assert quiet(floor)


def quiet(floor: Floor) -> bool:
    """Whether the logs tell of no fault of ours."""
    text = floor.scheduler.process.output() + floor.executor.process.output()
    return "Traceback" not in text and '"level": "error"' not in text and '"level":"error"' not in text


async def start(floor: Floor, target: Target, count: int) -> list[StepKey]:
    revision = await floor.apply(CALL.format(url=target.url("/call")))
    return [(await floor.start_run(revision), 0) for _ in range(count)]


async def test_forged_hints_start_nothing_twice_and_break_nothing(floor: Floor, target: Target, client: Redis) -> None:
    rng = random.Random(36)
    await forgery.add_garbage(client, rng)
    steps = await start(floor, target, 10)
    await forgery.add_duplicates(client, steps, times=100)
    await forgery.add_unknown(client, [run_id for run_id, _ in steps])
    await forgery.add_garbage(client, rng)
    await all_end_once(floor, target, steps)
    await forgery.add_duplicates(client, steps, times=10)  # of runs that have ended
    steps += await start(floor, target, 1)
    await all_end_once(floor, target, steps)


async def test_hints_that_fill_every_slot_and_lead_to_nothing_do_not_deafen_an_executor(
    empty_floor: Floor, target: Target, client: Redis
) -> None:
    floor = empty_floor
    floor.start_scheduler()
    floor.start_executor(TASKFORGE_EXECUTOR_SLOTS="1")
    steps = await start(floor, target, 1)
    await all_end_once(floor, target, steps)
    await forgery.add_unknown(client, count=10)

    async def all_are_read() -> None:
        [group] = await client.xinfo_groups(HINT_STREAM)
        assert group["lag"] == 0

    await eventually(all_are_read)


async def test_stolen_and_thrown_away_hints_are_made_good(floor: Floor, target: Target, client: Redis) -> None:
    steps = await start(floor, target, 1)
    await all_end_once(floor, target, steps)  # so there is a group
    for spoil in (forgery.trim_all, forgery.destroy_group, forgery.steal, forgery.delete_consumers):
        steps += await start(floor, target, 5)
        await spoil(client)
    await all_end_once(floor, target, steps, within=15)
    await forgery.delete_consumers(client)

    async def only_ours() -> None:
        assert await forgery.consumers(client) == {READER: 0}

    await eventually(only_ours)


async def test_executors_that_come_and_go_leave_one_name(empty_floor: Floor, target: Target, client: Redis) -> None:
    floor = empty_floor
    floor.start_scheduler()
    steps: list[StepKey] = []
    for _ in range(3):
        executor = floor.start_executor()
        steps += await start(floor, target, 2)
        await all_end_once(floor, target, steps)
        executor.process.kill()
    assert await forgery.consumers(client) == {READER: 0}


async def test_a_redis_that_may_evict_is_told_of_by_both_services(
    empty_floor: Floor, target: Target, folder: Path
) -> None:
    own = Valkey(folder, settings={"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"})
    own.start()
    try:
        scheduler = empty_floor.start_scheduler(TASKFORGE_REDIS_URL=own.url)
        executor = empty_floor.start_executor(TASKFORGE_REDIS_URL=own.url)

        def told() -> None:
            for service in (scheduler, executor):
                assert "redis_may_evict_hints" in service.process.output()

        await eventually(told)
        await all_end_once(empty_floor, target, await start(empty_floor, target, 3))
    finally:
        own.stop()


async def test_a_full_redis_refuses_hints_and_executors_poll(empty_floor: Floor, target: Target, folder: Path) -> None:
    own = Valkey(folder)
    own.start()
    try:
        empty_floor.start_scheduler(TASKFORGE_REDIS_URL=own.url)
        empty_floor.start_executor(TASKFORGE_REDIS_URL=own.url)
        own.answer("SET taskforge:ballast " + "x" * 50_000)
        own.configure("maxmemory", "1mb")
        steps = await start(empty_floor, target, 5)
        await all_end_once(empty_floor, target, steps, within=10)
        assert empty_floor.scheduler.process.output().count("hints_unavailable") <= 1
    finally:
        own.stop()


async def test_a_cluster_that_loses_the_master_of_the_stream_delays_nothing_for_long(
    empty_floor: Floor, target: Target, cluster: ValkeyCluster
) -> None:
    floor = empty_floor
    floor.start_scheduler(TASKFORGE_REDIS_URL=cluster.url)
    floor.start_executor(TASKFORGE_REDIS_URL=cluster.url)
    steps = await start(floor, target, 5)
    await all_end_once(floor, target, steps)
    cluster.owner().stop()
    steps += await start(floor, target, 5)
    await all_end_once(floor, target, steps, within=10)

    def told() -> None:
        for service in (floor.scheduler, floor.executor):
            assert service.process.output().rindex("hints_available") > service.process.output().rindex(
                "hints_unavailable"
            )

    steps += await start(floor, target, 5)
    await all_end_once(floor, target, steps, within=10)
    await eventually(told, within=20)
