"""Everything together, for a long time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack

import asyncpg
from redis.exceptions import RedisError

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.gauges import Gauges
from tests.chaos.world.load import CHAIN, FLAKY
from tests.chaos.world.nemesis import LINKS, Nemesis
from tests.chaos.world.world import World

_MINUTES = 30.0  #: at full scale
_FAULT_SECONDS = 20.0
_READ_SECONDS = 5.0
_RUNS_A_LOAD = 250
_PAUSE_SECONDS = 0.25  #: a steady load, not the greatest
#: Never killed, so that their growth can be seen. Everything else is fair.
_SPARED = ("scheduler-1", "gateway-1", "ingest-1", "executor-1")
_SETTLE_SECONDS = 240.0  #: pools fill, caches warm, the allocator finds its size
_LEAST_SECONDS = 240.0

#: Growth an hour that is still noise.
_LIMITS = {"MB": 24.0, "files": 30.0, "threads": 10.0, "pending": 60.0, "consumers": 30.0}
_MAX_DEAD_ROWS = 200_000.0


@experiment(
    "F53",
    "Mixed load with a random fault every 20 s",
    threshold="no violation; memory, files, pending hints and dead rows do not grow",
    seconds=200,
    in_subset=False,
)
async def soak(lab: Lab) -> None:
    """Loads follow each other, each judged when it has come to rest, while the nemesis goes on."""
    end = time.monotonic() + 60 * (lab.minutes or lab.scale * _MINUTES)
    async with lab.world(schedulers=2, executors=2, links=LINKS) as world:
        gauges = Gauges(world)
        background = [
            asyncio.create_task(_strike(lab, world), name="nemesis"),
            asyncio.create_task(_watch(gauges), name="gauges"),
        ]
        try:
            while time.monotonic() < end:
                await _one_round(lab, world)
                for task in background:
                    if task.done():
                        task.result()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        await world.reset()
        await gauges.read()
        _judge_growth(lab, gauges)


async def _one_round(lab: Lab, world: World) -> None:
    """Two loads at the same time, judged at their end."""
    async with AsyncExitStack() as opened:
        loads = [
            await opened.enter_async_context(
                lab.load(world, runs=_RUNS_A_LOAD, workload=workload, at_once=2, pause=_PAUSE_SECONDS)
            )
            for workload in (CHAIN, FLAKY)
        ]
        for load in loads:
            # Faults go on while the runs end: one may be hit several times.
            await load.finished(within=180.0)
            await lab.verify(world, load)


async def _strike(lab: Lab, world: World) -> None:
    nemesis = Nemesis(world, lab.rng, spared=_SPARED)
    while True:
        started = time.monotonic()
        lab.injected(await nemesis.strike())
        await asyncio.sleep(max(0.0, _FAULT_SECONDS - (time.monotonic() - started)))


async def _watch(gauges: Gauges) -> None:
    while True:
        # The servers that it asks are being killed; the next look comes soon.
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError):
            await gauges.read()
        await asyncio.sleep(_READ_SECONDS)


def _judge_growth(lab: Lab, gauges: Gauges) -> None:
    for name, slope in gauges.slopes(settle=_SETTLE_SECONDS, least=_LEAST_SECONDS).items():
        kind = name.partition(" ")[0]
        if kind in _LIMITS:
            lab.measured(f"{name} an hour", slope)
            lab.expect(slope <= _LIMITS[kind], f"{name} grows by {slope:.1f} an hour")
    dead = gauges.last("dead rows")
    lab.measured("dead rows at the end", dead)
    lab.expect(dead <= _MAX_DEAD_ROWS, f"{dead:.0f} dead rows are left")
