"""Processes that die, stop and restart: each service at its kill points, and everything at once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping

from taskforge.failpoints import Point
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.calls import read_calls
from tests.chaos.world.load import Load
from tests.chaos.world.settings import LEASE_SECONDS, RECOVERY_SECONDS, SWEEP_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_GATEWAY_POINTS = {
    Point.REQUEST_PARSED: "gateway",
    Point.BEFORE_COMMIT: "scheduler",
    Point.AFTER_COMMIT: "scheduler",
    Point.BEFORE_REPLY: "gateway",
}
_EXECUTOR_POINTS = (
    Point.HINT_READ,
    Point.CLAIM_COMMITTED,
    Point.EFFECT_SENT,
    Point.EFFECT_DONE,
    Point.COMPLETION_COMMITTED,
    Point.BEFORE_ACK,
    Point.RENEWING,
)
_FROZEN_AT = (Point.CLAIM_COMMITTED, Point.EFFECT_SENT, Point.EFFECT_DONE)
_FROZEN_SECONDS = LEASE_SECONDS + SWEEP_SECONDS + 2.0
_SHOT_SECONDS = 15.0
_AT_ONCE = 8


@experiment(
    "F01",
    "The way of a start is cut by kill -9 at K1 to K4, and callers ask again",
    threshold="one run a key, everything acknowledged exists",
    seconds=12,
)
async def starts_are_cut(lab: Lab) -> None:
    await _shoot(lab, _GATEWAY_POINTS, each=lab.times(20))


@experiment(
    "F04",
    "An executor is killed at each of its kill points (K9 to K15)",
    threshold="no violation; everything done within a lease, two sweeps and a reconnection of the last kill",
    seconds=20,
)
async def executors_are_killed(lab: Lab) -> None:
    await _shoot(lab, dict.fromkeys(_EXECUTOR_POINTS, "executor"), each=lab.times(10))


@experiment(
    "F05",
    "An executor is frozen for longer than its lease at K10, K11 and K12, and comes back",
    threshold="what it reports late is refused, and changes nothing",
    seconds=30,
)
async def executors_come_back(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=4) as load:
        for point in _FROZEN_AT * lab.times(3):
            await _hit(world, point, "freeze", "executor", seconds=_FROZEN_SECONDS)
            lab.injected(f"executor frozen at {point}")
        await load.finished()
        await lab.verify(world, load)
        await _the_late_were_refused(lab, world, load)


@experiment(
    "F08",
    "Every service is restarted by SIGTERM under load, one after the other",
    threshold="no executor is counted as lost, no request is sent twice",
    seconds=30,
)
async def services_are_restarted(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=4) as load:
        for _ in range(lab.times(10)):
            for name in world.wiring.names():
                await _restart(world, name)
                lab.injected(f"SIGTERM {name.partition('-')[0]}")
        await load.finished()
        await lab.verify(world, load)
        lines = load.ledger_lines()
        extra = len(lines) - len({(line.run_id, line.step) for line in lines})
        lab.measured("starts sent again", load.driver.repeated)
        lab.expect(extra == 0, f"{extra} requests were sent more than once")
        async with world.database() as connection:
            crashes = await connection.fetchval(
                "SELECT count(*) FROM steps s JOIN runs r USING (run_id) WHERE r.workflow = $1 AND s.crashes > 0",
                load.name,
            )
        lab.expect(crashes == 0, f"{crashes} steps count a lost executor")


@experiment(
    "F09",
    "Everything is killed at once, PostgreSQL and Valkey included, and starts in a random order",
    threshold="no violation; healthy again within 60 s each time",
    seconds=25,
)
async def everything_is_killed(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=4) as load:
        slowest = 0.0
        for _ in range(lab.times(30, least=2)):
            await asyncio.sleep(lab.rng.uniform(0.2, 1.0))
            names = list(world.keeper.members)
            await asyncio.gather(*(world.halt(name) for name in names))
            lab.rng.shuffle(names)
            started = time.monotonic()
            for name in names:
                world.resume(name)
            await world.settled(within=60.0)
            slowest = max(slowest, time.monotonic() - started)
            lab.injected("kill -9 of everything")
        lab.measured("slowest start s", slowest)
        await load.finished()
        await lab.verify(world, load)


async def _shoot(lab: Lab, points: Mapping[Point, str], *, each: int) -> None:
    """Kill at every point so many times, under load, one kill after the other."""
    plan = [point for point in points for _ in range(each)]
    lab.rng.shuffle(plan)
    async with lab.world() as world, lab.load(world, runs=None, at_once=_AT_ONCE) as load:
        for point in plan:
            await _hit(world, point, "kill", points[point])
            lab.injected(f"kill -9 {points[point]} at {point}")
        await load.started()
        ended = time.monotonic()
        await load.finished()
        lab.measured("last runs done s", time.monotonic() - ended)
        lab.expect(time.monotonic() - ended <= RECOVERY_SECONDS, "the last runs took longer than a recovery")
        await lab.verify(world, load)


async def _hit(world: World, point: Point, action: str, service: str, *, seconds: float = 0.0) -> None:
    """Arm a shot and wait until somebody has come by."""
    count = len(world.shots.fired())
    world.shots.arm(point, action=action, service=service, seconds=seconds)

    def hit() -> None:
        assert len(world.shots.fired()) > count, f"nobody has come by {point}"

    await eventually(hit, within=_SHOT_SECONDS)


async def _restart(world: World, name: str) -> None:
    before = world.keeper.members[name].starts
    world.kill(name, signal.SIGTERM)

    def again() -> None:
        assert world.keeper.members[name].starts > before, f"{name} has not ended"

    await eventually(again, within=30.0)
    await world.settled()


async def _the_late_were_refused(lab: Lab, world: World, load: Load) -> None:
    """The steps that were frozen ran elsewhere: a late result is refused, and nobody begins an effect too late."""
    async with world.database() as connection:
        lost = await connection.fetch(
            "SELECT run_id, step, lease_token, a.ended_at FROM attempts a JOIN runs USING (run_id)"
            " WHERE workflow = $1 AND outcome IN ('CRASHED', 'UNKNOWN')",
            load.name,
        )
    ends = {(row["run_id"], row["step"], row["lease_token"]): row["ended_at"].timestamp() for row in lost}
    callers = load.workload.callers
    late = [
        line
        for line in load.ledger_lines()
        if line.at > ends.get((line.run_id, callers[line.step], line.token), line.at)
    ]
    refused = sum(call.answer == "stale" and call.kind == "complete" for call in read_calls(world))
    lab.measured("leases lost", len(lost))
    lab.measured("late results refused", refused)
    lab.expect(bool(lost), "nobody lost a lease: the freeze was too short to prove anything")
    lab.expect(not late, f"{len(late)} requests were sent under a lease that had been taken away")
