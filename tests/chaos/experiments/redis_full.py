"""Valkey runs out of memory: it refuses what it is given, or throws away what it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.broker import own_valkey, restart_valkey, until_read
from tests.chaos.world.logs import Logs
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.stretches import Stretch, Watch, leave_alone, start_waits
from tests.chaos.world.world import World

_PAUSE = 0.05  #: between a load's starts, so that the machine is not the limit
_BALLAST = 8_000_000
_ROOM = "4mb"
_PACE_SECONDS = 0.01
_VALUE = 100_000  #: bytes


@experiment(
    "F35",
    "Valkey is full under noeviction, and then evicts whatever it likes",
    threshold="no violation; the log says which; executors and scheduler stay ready and work",
    seconds=25,
)
async def valkey_is_full(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load:
        await load.reached(20)
        seconds = lab.times(20, least=4)
        logs, full = Logs(world), await _full(lab, world, seconds)
        refusals = [line.text for line in logs.told("hints_unavailable")]
        lab.expect(any("OutOfMemory" in text for text in refusals), "nobody said that Valkey is full")
        lab.expect(not logs.talkative(), f"more than a line a second: {logs.talkative()}")
        logs = Logs(world)
        async with _evicting(world):
            evicted = await _evict_hints(lab, world, seconds)
            await logs.until_told("redis_may_evict_hints", by=3, within=RECOVERY_SECONDS)
            lab.expect(not logs.talkative(), f"more than a line a second: {logs.talkative()}")
            await world.settled()
        await load.finished()
        await lab.verify(world, load)
        for name, stretch in (("full", full), ("evicting", evicted)):
            waits = await start_waits(load, [stretch])
            lab.measured(f"longest wait for a start while {name} s", max(waits))
            lab.expect(max(waits) <= RECOVERY_SECONDS, f"a run waited {max(waits):.1f} s while Valkey was {name}")


async def _full(lab: Lab, world: World, seconds: float) -> Stretch:
    """Valkey takes nothing more for so long."""
    async with world.redis() as client:
        await client.set("ballast", b"x" * _BALLAST)
        own_valkey(world).configure("maxmemory", _ROOM)
        stretch = await leave_alone(seconds)
        own_valkey(world).configure("maxmemory", "0")
        await client.delete("ballast")
        lab.injected("Valkey full")
        await until_read(client, within=RECOVERY_SECONDS)
    return stretch


@asynccontextmanager
async def _evicting(world: World) -> AsyncIterator[None]:
    """Valkey with a policy that may evict the stream, and with little room."""
    settings = own_valkey(world).settings
    usual = dict(settings)
    settings |= {"maxmemory": _ROOM, "maxmemory-policy": "allkeys-random"}
    try:
        await restart_valkey(world)
        yield
    finally:
        settings.clear()
        settings |= usual
        await restart_valkey(world)


async def _evict_hints(lab: Lab, world: World, seconds: float) -> Stretch:
    """Others write so much that keys are evicted all the time, the stream among them."""
    watch, written = Watch(), 0
    async with world.redis() as client:
        while watch.stop().seconds < seconds:
            written += 1
            await client.set(f"other:{written}", b"x" * _VALUE)
            await asyncio.sleep(_PACE_SECONDS)  # the pace of those others
        stats: Any = await client.info("stats")
    lab.injected("key evicted", int(stats["evicted_keys"]))
    lab.expect(stats["evicted_keys"] > 0, "nothing was evicted")
    return watch.stop()
