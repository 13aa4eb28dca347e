"""Clocks that are wrong: of one service at a time, and of the database itself."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.hook_sender import hook_sender
from tests.chaos.parts.timetable import judge_timetable, lateness, up_to_date
from tests.chaos.world.settings import RECOVERY_SECONDS, SWEEP_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
_JUMPS = ("+1h", "-1h", "+1d")
_SERVICES = ("scheduler-1", "gateway-1", "executor-1")  #: ingest has a use for the time of day: see below
_TICKING = "name: {name}\ntriggers: [{triggers}]\nsteps: [{{id: note, log: tick}}]\n"
_HOUR_SECONDS = 3600.0
_LATE_SECONDS = 2 * SWEEP_SECONDS


@experiment(
    "F55",
    "The clock of a service is an hour or a day wrong; the database's clock jumps across a restart",
    threshold="no violation, nothing early and nothing late: only the database's clock matters",
    seconds=25,
    in_subset=False,
)
async def clocks_are_wrong(lab: Lab) -> None:
    if not _LIBRARIES:
        lab.skip("libfaketime is not installed")
    pairs = [(name, jump) for name in _SERVICES for jump in _JUMPS]
    async with lab.world() as world:
        for name, jump in lab.rng.sample(pairs, lab.times(len(pairs))):
            async with _wrong_clock(world, name, jump):
                lab.injected(f"{jump} on {name.partition('-')[0]}")
                loaded = Path(f"/proc/{world.pids()[name]}/maps").read_text(encoding="utf-8")
                lab.expect(str(_LIBRARIES[0]) in loaded, f"the clock of {name} was never wrong")
                await _everything_is_on_time(lab, world)
        for jump in lab.rng.sample(_JUMPS, lab.times(len(_JUMPS))):
            async with _wrong_clock(world, "ingest-1", jump):
                lab.injected(f"{jump} on ingest")
                await _old_signatures_are_refused(lab, world)
        await _the_database_jumps(lab, world)
    if not lab.outcome.violations:  # else its logs are wanted
        await lab.bench.discard()  # some of its rows are of the future


def _fake(jump: str) -> Mapping[str, str]:
    # What measures durations stays right, as with a clock that somebody has set.
    return {"LD_PRELOAD": str(_LIBRARIES[0]), "FAKETIME": jump, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@asynccontextmanager
async def _wrong_clock(world: World, name: str, jump: str) -> AsyncIterator[None]:
    """A service that starts, and goes on, with another time of day."""
    await world.halt(name)
    world.wiring.variables[name] = _fake(jump)
    world.resume(name)
    try:
        await world.settled()
        yield
    finally:
        del world.wiring.variables[name]
        await world.halt(name)
        world.resume(name)
        await world.settled()


async def _has_ticked(world: World, name: str) -> None:
    async with world.database() as connection:
        ticks = await connection.fetchval(
            "SELECT count(*) FROM ticks JOIN schedules USING (trigger_id) WHERE workflow = $1", name
        )
    assert ticks, "nothing has ticked"


async def _everything_is_on_time(lab: Lab, world: World) -> None:
    """Runs with leases and a schedule that ticks every second."""
    name = f"f55-{lab.rng.getrandbits(32):08x}"
    await world.api.apply(_TICKING.format(name=name, triggers="{id: tick, every: 1s}"))
    async with lab.load(world, runs=lab.times(100, least=20)) as load:
        await load.finished()
        await lab.verify(world, load)
    await eventually(lambda: _has_ticked(world, name), within=RECOVERY_SECONDS)
    await up_to_date(world, name, within=RECOVERY_SECONDS, by=timedelta(seconds=_LATE_SECONDS))
    async with world.database() as connection:
        history, violations = await judge_timetable(connection, name)
        await connection.execute("DELETE FROM triggers WHERE workflow = $1", name)
    lab.outcome.violations += [str(violation) for violation in violations]
    late = lateness(history)
    lab.expect(max(late, default=0.0) <= RECOVERY_SECONDS, f"a tick was {max(late, default=0.0):.1f} s late")


async def _old_signatures_are_refused(lab: Lab, world: World) -> None:
    """A signature is good for five minutes by the clock of who checks it: a wrong one refuses, and lets nothing in."""
    name = f"f55-{lab.rng.getrandbits(32):08x}"
    async with hook_sender(world, name) as sender:
        answer = await sender.send(f"{name}-1")
        lab.expect(answer.status == 401, f"a delivery of another hour was answered {answer.status}")
        run = await world.api.start(name, ticket="by hand")
        await world.api.ended(run.name)
    async with world.database() as connection:
        runs = await connection.fetchval("SELECT count(*) FROM runs WHERE workflow = $1", name)
    lab.expect(runs == 1, f"the refused delivery has started {runs - 1} runs")


async def _the_database_jumps(lab: Lab, world: World) -> None:
    """An hour forward while runs are under way, and back again."""
    for jump in ("+1h", ""):
        name = f"f55-{lab.rng.getrandbits(32):08x}"
        await world.api.apply(_TICKING.format(name=name, triggers="{id: tick, every: 1s}"))
        async with lab.load(world, runs=lab.times(200, least=40)) as load:
            await load.reached(10)
            await world.halt("postgres")
            with _variables(_fake(jump) if jump else {}):
                # Until it is up: while its last backends die it may have to be started more than once.
                world.resume("postgres")
                await world.settled()
            lab.injected(f"{jump or '-1h'} on PostgreSQL")
            ahead, wanted = await _ahead(world), _HOUR_SECONDS if jump else 0.0
            lab.expect(abs(ahead - wanted) < 1.0, f"the database's clock is {ahead:.0f} s ahead, not {wanted:.0f} s")
            await load.finished()
            await lab.verify(world, load)
        if jump:  # going back, the next tick is an hour away
            await up_to_date(world, name, within=RECOVERY_SECONDS + 20, by=timedelta(seconds=_LATE_SECONDS))
        async with world.database() as connection:
            _, violations = await judge_timetable(connection, name)
            await connection.execute("DELETE FROM triggers WHERE workflow = $1", name)
        lab.outcome.violations += [str(violation) for violation in violations]


async def _ahead(world: World) -> float:
    """How far the database's clock is ahead of ours, in seconds."""
    async with world.database() as connection:
        shown: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    return shown - time.time()


@contextmanager
def _variables(more: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process, for a server that inherits them."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
