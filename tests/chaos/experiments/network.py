"""Links between the services, PostgreSQL and Valkey: silent, refused, coming and going, slow."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.proxy import Direction
from tests.chaos.world.load import Load
from tests.chaos.world.nemesis import LINKS
from tests.chaos.world.recovery import HEALED_SECONDS, recovered
from tests.chaos.world.settings import LEASE_SECONDS
from tests.chaos.world.world import World

DIRECTIONS: tuple[Direction, ...] = ("both", "to_server", "to_client")
_SILENT_SECONDS = 2 * LEASE_SECONDS
_REFUSED_SECONDS = LEASE_SECONDS
_FLAP_SECONDS = 1.0
_FLAPS = 3
_CONNECTS_A_SECOND = 20
_AT_ONCE = 4

_SLOW_LEASE_SECONDS = 30.0
_SLOW_ONE_WAY_SECONDS = 0.1  #: 200 ms more for every round trip
_SLOW_JITTER_SECONDS = 0.05
_NARROW_BYTES_A_SECOND = 125_000.0  #: 1 Mbit/s
_STALL_SECONDS = (0.2, 0.8)  #: what losing a packet, or the one that is sent again, does to a connection
_CALM_SECONDS = (0.1, 0.4)

_LOST_LEASES = """
SELECT count(*) FROM attempts a JOIN runs r USING (run_id)
WHERE r.workflow = $1 AND a.outcome IN ('CRASHED', 'UNKNOWN')
"""


@experiment(
    "F38",
    "Each link is silent for two leases, in both directions or in one",
    threshold="no violation; everything that was begun is done, and a new start confirmed, a recovery after healing",
    seconds=24,
)
async def links_are_silent(lab: Lab) -> None:
    async with lab.world(links=LINKS) as world, lab.load(world, runs=None, at_once=_AT_ONCE) as load:
        slowest = 0.0
        for link, direction in _partitions(lab.rng, lab.times(len(LINKS), least=2)):
            world.links[link].blackhole(direction)
            await asyncio.sleep(_SILENT_SECONDS)
            world.links[link].heal()
            lab.injected(f"{link} silent, {direction}")
            slowest = max(slowest, await _heals(lab, load, f"{link} was silent, {direction}"))
        lab.measured("slowest recovery s", slowest)
        lab.measured("leases lost", await _lost_leases(world, load))
        _carried_something(lab, world)
        await load.finished()
        await lab.verify(world, load)


@experiment(
    "F39",
    "Each link refuses connections for a lease, and then comes and goes every second",
    threshold="at most 20 connects a second by each service on each link; everything done a recovery after healing",
    seconds=28,
)
async def links_are_refused(lab: Lab) -> None:
    async with lab.world(links=LINKS) as world, lab.load(world, runs=None, at_once=_AT_ONCE) as load:
        slowest = busiest = 0.0
        for link in lab.rng.sample(LINKS, lab.times(len(LINKS), least=2)):
            cables = world.links[link]
            cables.forget_peak()
            cables.refuse()
            await asyncio.sleep(_REFUSED_SECONDS)
            for _ in range(_FLAPS):
                cables.heal()
                await asyncio.sleep(_FLAP_SECONDS)
                cables.refuse()
                await asyncio.sleep(_FLAP_SECONDS)
            cables.heal()
            lab.injected(f"{link} refused and flapping")
            slowest = max(slowest, await _heals(lab, load, f"{link} was refused"))
            peak = max(report.busiest_second for report in cables.reports())
            busiest = max(busiest, peak)
            allowed = _CONNECTS_A_SECOND * world.settings.count(link.partition("-")[0])
            lab.expect(peak <= allowed, f"{link}: {peak} connects within a second, {allowed} are allowed")
        lab.measured("slowest recovery s", slowest)
        lab.measured("busiest second connects", busiest)
        await load.finished()
        await lab.verify(world, load)


@experiment(
    "F40",
    "All links are slow: +200 ms a round trip, 1 Mbit/s, and stalls as after lost packets",
    threshold="no violation, and with leases of 30 s none is lost",
    seconds=45,
    in_subset=False,
)
async def links_are_slow(lab: Lab) -> None:
    environment = {"TASKFORGE_LEASE_SECONDS": f"{_SLOW_LEASE_SECONDS:g}"}
    async with lab.world(links=LINKS, environment=environment) as world:
        for kind in ("latency", "bandwidth", "stalls"):
            async with lab.load(world, runs=lab.times(60, least=8), at_once=2 * _AT_ONCE) as load:
                started = time.monotonic()
                stalls = asyncio.create_task(_make_slow(lab, world, kind), name="slow")
                try:
                    # Slow is not stuck: the runs end while everything is slow.
                    await load.finished(within=2 * _SLOW_LEASE_SECONDS)
                finally:
                    stalls.cancel()
                    await asyncio.gather(stalls, return_exceptions=True)
                    world.links.heal()
                lab.measured(f"runs a second, {kind}", len(load.acknowledged) / (time.monotonic() - started))
                lab.injected(f"all links: {kind}")
                lost = await _lost_leases(world, load)
                lab.expect(lost == 0, f"{lost} leases were lost to {kind}")
                await lab.verify(world, load)


async def _make_slow(lab: Lab, world: World, kind: str) -> None:
    for link in LINKS:
        if kind == "latency":
            world.links[link].latency(_SLOW_ONE_WAY_SECONDS, jitter=_SLOW_JITTER_SECONDS)
        elif kind == "bandwidth":
            world.links[link].bandwidth(_NARROW_BYTES_A_SECOND)
    while kind == "stalls":
        link = lab.rng.choice(LINKS)
        world.links[link].blackhole(lab.rng.choice(DIRECTIONS))
        await asyncio.sleep(lab.rng.uniform(*_STALL_SECONDS))
        world.links[link].heal()
        await asyncio.sleep(lab.rng.uniform(*_CALM_SECONDS))


def _partitions(rng: random.Random, count: int) -> Iterator[tuple[str, Direction]]:
    """Links with a direction: no link twice before every other has come, and no direction of it twice at all."""
    rounds: Sequence[Direction] = rng.sample(DIRECTIONS, len(DIRECTIONS))
    for number in range(count):
        if number % len(LINKS) == 0:
            order = rng.sample(LINKS, len(LINKS))
        link = order[number % len(LINKS)]
        yield link, rounds[(number // len(LINKS) + LINKS.index(link)) % len(DIRECTIONS)]


async def _heals(lab: Lab, load: Load, what: str) -> float:
    """How long it takes until everything is as it was; too long is a violation."""
    try:
        return await recovered(load, at_once=_AT_ONCE)
    except AssertionError as error:
        lab.expect(False, f"{HEALED_SECONDS:g} s after {what}: {error}")
        return HEALED_SECONDS


async def _lost_leases(world: World, load: Load) -> int:
    async with world.database() as connection:
        return int(await connection.fetchval(_LOST_LEASES, load.name))


def _carried_something(lab: Lab, world: World) -> None:
    """A link that nobody uses can be silent for as long as it likes."""
    for link in LINKS:
        for report in world.links[link].reports():
            lab.expect(report.bytes_to_client > 0, f"nothing ever came through {link}")
