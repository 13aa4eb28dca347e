"""The hint stream against a real Valkey: whatever happens to it, nobody raises, blocks or goes deaf."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

from redis.asyncio import Redis

from taskforge.bus.consumer import HintConsumer, NullConsumer, make_consumer
from taskforge.bus.producer import HintProducer, NullProducer, make_producer
from taskforge.bus.streams import EXECUTORS, HINT_STREAM, READER, StepKey, encode_hint
from taskforge.runtime.ids import new_id
from tests.support.valkey import Valkey
from tests.support.waiting import eventually


@contextlib.asynccontextmanager
async def bus(valkey: Valkey) -> AsyncIterator[tuple[HintProducer, HintConsumer, Redis]]:
    producer, consumer = HintProducer(valkey.url), HintConsumer(valkey.url)
    client = Redis.from_url(valkey.url)
    await producer.start()
    try:
        yield producer, consumer, client
    finally:
        await producer.close()
        await consumer.close()
        await client.aclose()


async def read_until(consumer: HintConsumer, wanted: set[StepKey], within: float = 20.0) -> list[StepKey]:
    """Read until all the wanted hints have come."""
    seen: list[StepKey] = []
    async with asyncio.timeout(within):
        while not wanted <= set(seen):
            seen += await consumer.read(64, 200)
    return seen


async def holds(client: Redis, count: int) -> None:
    """Wait until the stream has so many entries."""

    async def look() -> None:
        assert await client.xlen(HINT_STREAM) == count

    await eventually(look)


def keys(count: int) -> list[StepKey]:
    return [(new_id(), index) for index in range(count)]


async def test_hints_arrive_once_and_leave_nothing_behind(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        hints = keys(250)
        producer.publish(hints)
        assert sorted(await read_until(consumer, set(hints))) == sorted(hints)
        assert producer.healthy
        assert consumer.healthy
        assert await consumer.read(10, 0) == []  # deletes what the read before it returned
        assert await client.xlen(HINT_STREAM) == 0
        assert (await client.xpending(HINT_STREAM, EXECUTORS))["pending"] == 0


async def test_two_consumers_share_the_hints(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, _):
        other = HintConsumer(valkey.url)
        await consumer.read(1, 1)
        hints = keys(40)
        producer.publish(hints)
        seen: list[StepKey] = []
        async with asyncio.timeout(20):
            while len(seen) < len(hints):
                seen += await consumer.read(3, 50) + await other.read(3, 50)
        await other.close()
        assert sorted(seen) == sorted(hints)


async def test_hints_that_were_written_before_any_executor_existed_are_read(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        hints = keys(5)
        producer.publish(hints)
        await holds(client, 5)
        await read_until(consumer, set(hints))


async def test_a_cancelled_read_loses_nothing(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, _):
        await consumer.read(1, 1)
        hints = keys(60)
        seen: list[StepKey] = []
        for round_, hint in enumerate(hints):
            reading = asyncio.create_task(consumer.read(8, 500))
            for _ in range(round_ % 7):
                await asyncio.sleep(0)
            producer.publish([hint])
            for _ in range(round_ % 11):
                await asyncio.sleep(0)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                seen += await reading
        seen += await read_until(consumer, set(hints) - set(seen))
        assert sorted(seen) == sorted(hints)


async def test_garbage_is_dropped_and_removed(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        good = keys(1)
        version_2 = encode_hint(*good[0]).replace(b"\x08\x01", b"\x08\x02", 1)
        await client.xadd(HINT_STREAM, {"x": "y"})
        for payload in (b"", b"\xff\xff", b"\x08\x01\x12\x03abc", version_2):
            await client.xadd(HINT_STREAM, {"h": payload})
        producer.publish(good)
        assert await read_until(consumer, set(good)) == good
        assert consumer.healthy
        await consumer.read(1, 0)
        assert await client.xlen(HINT_STREAM) == 0


async def test_a_flush_is_survived_by_a_blocked_reader(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        await consumer.read(1, 1)
        reading = asyncio.create_task(consumer.read(8, 1000))
        await asyncio.sleep(0)
        for _ in range(3):
            await client.flushall()
            hints = keys(2)
            producer.publish(hints)
            await read_until(consumer, set(hints) - set(await reading))
            reading = asyncio.create_task(consumer.read(8, 1000))
        await reading


async def test_a_destroyed_group_is_made_again_without_skipping_what_is_there(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        await consumer.read(1, 1)
        await client.xgroup_destroy(HINT_STREAM, EXECUTORS)
        hints = keys(3)
        producer.publish(hints)
        await read_until(consumer, set(hints))


async def test_a_restarted_server_is_found_again(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, _):
        producer.publish(keys(1))
        await read_until(consumer, set())
        valkey.stop()
        async with asyncio.timeout(10):
            while consumer.healthy or producer.healthy:
                producer.publish(keys(1))
                assert await consumer.read(8, 100) == []
        valkey.start()
        hints = keys(2)
        async with asyncio.timeout(10):
            while not consumer.healthy:
                await consumer.read(8, 100)
        producer.publish(hints)
        await read_until(consumer, set(hints))
        assert producer.healthy


async def test_a_frozen_server_blocks_nobody_for_long(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, _):
        producer.publish(keys(1))
        await consumer.read(1, 1)
        valkey.freeze()
        try:
            started = asyncio.get_running_loop().time()
            producer.publish(keys(1))
            assert asyncio.get_running_loop().time() - started < 0.5
            async with asyncio.timeout(10):
                await consumer.read(8, 100)
                assert not consumer.healthy
                assert await producer.backlog() is None
                assert not producer.healthy
        finally:
            valkey.thaw()
        hints = keys(1)

        async def thawed() -> None:
            assert await producer.backlog() is not None

        await eventually(thawed)
        producer.publish(hints)
        await read_until(consumer, set(hints))


async def test_the_queue_is_bounded(valkey: Valkey) -> None:
    producer = HintProducer(valkey.url, max_queued=10)
    producer.publish(keys(25))
    producer.publish(keys(1))
    await producer.start()
    await producer.close()
    client = Redis.from_url(valkey.url)
    assert await client.xlen(HINT_STREAM) == 10
    await client.aclose()


async def test_backlog_counts_what_nobody_has_read(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        assert await producer.backlog() is None
        await consumer.read(1, 1)
        producer.publish(keys(7))
        await holds(client, 7)
        assert await producer.backlog() == 7
        assert len(await consumer.read(4, 100)) == 4
        assert await producer.backlog() == 3
        assert len(await consumer.read(4, 100)) == 3
        await consumer.read(4, 0)
        assert await producer.backlog() == 0


async def test_trimming_drops_only_old_hints(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        seconds, _ = await client.time()
        for index in range(400):  # trimming works on whole nodes of about a hundred entries
            await client.xadd(HINT_STREAM, {"h": encode_hint(new_id(), 0)}, id=f"{(seconds - 90) * 1000}-{index}")
        hints = keys(3)
        producer.publish(hints)
        await read_until(consumer, set(hints))
        await client.xgroup_destroy(HINT_STREAM, EXECUTORS)
        await producer.trim()
        assert await client.xlen(HINT_STREAM) < 103


async def test_a_hundred_readers_come_and_go_and_leave_one_name(valkey: Valkey) -> None:
    async with bus(valkey) as (producer, consumer, client):
        await consumer.read(1, 1)
        for _ in range(100):
            [hint] = keys(1)
            producer.publish([hint])
            reader = HintConsumer(valkey.url)
            assert await read_until(reader, {hint}) == [hint]
            await reader.close()
        [left] = await client.xinfo_consumers(HINT_STREAM, EXECUTORS)
        assert (left["name"], left["pending"]) == (READER.encode(), 0)
        assert await client.xlen(HINT_STREAM) == 0


async def test_without_redis_everything_is_quiet() -> None:
    producer, consumer = make_producer("none"), make_consumer("none")
    assert isinstance(producer, NullProducer)
    assert isinstance(consumer, NullConsumer)
    await producer.start()
    producer.publish([(UUID(int=1), 0)])
    await producer.trim()
    assert await producer.backlog() is None
    assert await consumer.read(1, 1) == []
    assert not producer.healthy
    assert not consumer.healthy
    await producer.close()
    await consumer.close()
