"""`scale`: the same chain with more executors, more schedulers, and more runs that wait."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from tests.bench import meters
from tests.bench.figures import combined
from tests.bench.lines import open_lines, start_of
from tests.bench.load import as_fast_as_answered
from tests.bench.measurements.throughput import throughput
from tests.bench.options import Options
from tests.bench.runs import apply
from tests.bench.systems import Member, StackSystem
from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS
from tests.chaos.world.settings import WorldSettings
from tests.chaos.world.world import World, children, open_world
from tests.support.stack import own_stack
from tests.support.waiting import eventually

_EXECUTORS = 1, 2, 4
_SCHEDULERS = 1, 2
_LOOKED_AT = 3000  #: runs of a long queue
#: A world is made for faults; this is what the local stack has.
_AS_USUAL = {"TASKFORGE_LOG_LEVEL": "info", "TASKFORGE_LEASE_SECONDS": "30"}
_CHAIN = WORKLOADS["chain"]
_ENDED = """
SELECT count(*) AS runs, extract(epoch FROM max(ended_at) - min(ended_at))::float8 AS seconds
FROM runs WHERE workflow = $1 AND ended_at > to_timestamp($2)
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_QUEUED = "SELECT count(*) FROM runs WHERE workflow = $1 AND ended_at IS NULL"


async def scale(server: Target, options: Options) -> dict[str, Any]:
    """Measure all three."""
    options = replace(options, counts=False)
    return {
        "executors": await _executors(server, options),
        "schedulers": await _schedulers(server, options),
        "queued": await _queues(server, options),
    }


async def _executors(server: Target, options: Options) -> dict[str, Any]:
    found = {}
    with own_stack() as stack:
        for count in _EXECUTORS:
            stack.local.scale(count)
            found[str(count)] = await throughput(StackSystem(stack), server, _CHAIN, options)
    return found


async def _schedulers(server: Target, options: Options) -> dict[str, Any]:
    """With two executors, of which each has its own scheduler if there are two. All starts go to the first."""
    found = {}
    for count in _SCHEDULERS:
        settings = WorldSettings(schedulers=count, executors=2, environment=_AS_USUAL)
        async with open_world(settings) as world:
            found[str(count)] = await throughput(_WorldSystem(world), server, _CHAIN, options)
    return found


async def _queues(server: Target, options: Options) -> dict[str, Any]:
    """How fast a queue of each length is worked on; a long one only at its beginning."""
    found = {}
    with own_stack(TASKFORGE_EXECUTORS="0") as stack:
        system = StackSystem(stack)
        await apply(system, _CHAIN.source(server.url))
        for length in options.queued:
            stack.local.scale(0)
            found[str(length)] = combined([await _queue(system, length)])
    return found


async def _queue(system: StackSystem, length: int) -> dict[str, Any]:
    async with system.database() as connection:
        queued = await connection.fetchval(_QUEUED, _CHAIN.workflow)
        async with open_lines(system) as lines:
            start = start_of(system, _CHAIN.workflow)
            replies = await as_fast_as_answered(lines, [start] * (length - queued))
        since = await connection.fetchval(_NOW)
        before = meters.cpu_seconds(system.members())
        system.stack.local.scale(1)
        row = await _work(connection, since, min(length, _LOOKED_AT))
        used = meters.since(before, meters.cpu_seconds(system.members()))
    return {
        "acks_per_s": len(replies) / (max(reply.answered for reply in replies) - min(reply.asked for reply in replies)),
        "runs_per_s": row["runs"] / row["seconds"],
        "cpu_ms_per_run": 1000 * sum(used.values()) / row["runs"],
    }


async def _work(connection: Any, since: float, runs: int) -> Any:
    async def assertion() -> Any:
        row = await connection.fetchrow(_ENDED, _CHAIN.workflow, since)
        assert row["runs"] >= runs, f"{row['runs']} of {runs} runs have ended"
        return row

    return await eventually(assertion, within=300.0, pause=0.25)


class _WorldSystem:
    """The product with more of its services than a local stack has."""

    def __init__(self, world: World) -> None:
        self.server = world.server
        self.token = world.token
        self._world = world

    def database(self) -> AbstractAsyncContextManager[Any]:
        return self._world.database()

    def members(self) -> Sequence[Member]:
        return [Member(name, pid) for name, parent in self._world.pids().items() for pid in (parent, *children(parent))]
