"""What this machine can do at best: the same PostgreSQL, Valkey and disk, with nothing of the product in between."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.bench.figures import combined, p50_p99_ms
from tests.bench.systems import StackSystem

_SECONDS = 1.0
_CLIENTS = 32
_BATCH = 100
_BATCH_CLIENTS = 4
_PAYLOAD = "x" * 200  #: about a row of a run
_PAGE = b"x" * 8192
_PAGES, _SYNCS = 64, 300
_STREAM, _GROUP = "bench-limits", "bench"
_INSERT = "INSERT INTO bench_limits.rows (payload) VALUES ($1)"
_INSERT_MANY = "INSERT INTO bench_limits.rows (payload) SELECT unnest($1::text[])"


async def limits(system: StackSystem, repeat: int) -> dict[str, Any]:
    """Measure each of them, one after the other."""
    samples = []
    async with system.database() as owner:
        await owner.execute("CREATE SCHEMA bench_limits")
        await owner.execute("CREATE TABLE bench_limits.rows (id bigserial PRIMARY KEY, payload text NOT NULL)")
        try:
            for _ in range(repeat):
                samples.append(await _sample(system))
        finally:
            await owner.execute("DROP SCHEMA bench_limits CASCADE")
    return combined(samples)


async def _sample(system: StackSystem) -> dict[str, Any]:
    return {
        "commits_per_s_1_client": await _statements(system, 1, _INSERT, _PAYLOAD),
        "commits_per_s_32_clients": await _statements(system, _CLIENTS, _INSERT, _PAYLOAD),
        "batched_rows_per_s": _BATCH * await _statements(system, _BATCH_CLIENTS, _INSERT_MANY, [_PAYLOAD] * _BATCH),
        "stream_entries_per_s": await _stream_entries(system.valkey_socket),
        "fdatasync_ms": await asyncio.to_thread(_fdatasync_ms, system.stack.home),
    }


async def _statements(system: StackSystem, clients: int, statement: str, value: Any) -> float:
    """Statements a second that so many clients commit together, each one after the other."""
    async with AsyncExitStack() as stack:
        prepared = []
        for _ in range(clients):
            connection = await stack.enter_async_context(system.database())
            prepared.append(await connection.prepare(statement))
        return await _rate([lambda ready=ready: ready.fetch(value) for ready in prepared])  # type: ignore[misc]


async def _rate(operations: list[Callable[[], Awaitable[Any]]]) -> float:
    began, done = time.perf_counter(), 0

    async def work(operation: Callable[[], Awaitable[Any]]) -> None:
        nonlocal done
        while time.perf_counter() - began < _SECONDS:
            await operation()
            done += 1

    await asyncio.gather(*(work(operation) for operation in operations))
    return done / (time.perf_counter() - began)


async def _stream_entries(socket: Path) -> float:
    """Entries a second that are added, read by a group and acknowledged, a hundred at a time."""
    redis: Any = Redis(unix_socket_path=str(socket))

    async def cycle() -> None:
        async with redis.pipeline(transaction=False) as pipeline:
            for _ in range(_BATCH):
                pipeline.xadd(_STREAM, {"run": _PAYLOAD})
            await pipeline.execute()
        [[_, entries]] = await redis.xreadgroup(_GROUP, "reader", {_STREAM: ">"}, count=_BATCH)
        ids = [entry for entry, _ in entries]
        async with redis.pipeline(transaction=False) as pipeline:
            await pipeline.xack(_STREAM, _GROUP, *ids)
            await pipeline.xdel(_STREAM, *ids)
            await pipeline.execute()

    try:
        await redis.xgroup_create(_STREAM, _GROUP, id="0", mkstream=True)
        return _BATCH * await _rate([cycle])
    finally:
        await redis.delete(_STREAM)
        await redis.aclose()


def _fdatasync_ms(folder: Path) -> dict[str, float]:
    """How long the data's disk takes to keep a page."""
    seconds = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.pwrite(file.fileno(), _PAGE * _PAGES, 0)
        os.fsync(file.fileno())  # the pages are there, as those of a log that is used again
        for number in range(_SYNCS):
            os.pwrite(file.fileno(), _PAGE, number % _PAGES * len(_PAGE))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return p50_p99_ms(seconds)
