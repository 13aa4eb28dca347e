"""Valkey cannot be reached: executors are deaf, the server is killed, frozen, away for long, or its master is lost."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.valkey_cluster import ValkeyCluster, valkey_cluster
from tests.chaos.world.broker import until_read
from tests.chaos.world.logs import Logs
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.stretches import (
    Stretch,
    Watch,
    answer_seconds,
    ended_a_second,
    leave_alone,
    percentile,
    start_waits,
)
from tests.chaos.world.world import World
from tests.support.places import short_folder
from tests.support.waiting import eventually

_LEAST_DEAF_SECONDS = 8  #: more than twice what it takes an executor to find out
_QUIET_SECONDS = 4.0  #: untouched, to compare with
_LOOK_SECONDS = 0.5
_START_SECONDS = 2.0  #: what 95 of 100 starts may wait when executors poll
_ANSWER_SECONDS = 0.5  #: what 99 of 100 answers may take, unless the machine is slower than that by itself
_RESUME_SECONDS = 3.0  #: until hints are read again, half of the times
_BETWEEN_SECONDS = (0.3, 1.5)  #: between kills
_PAUSE = 0.05  #: between a load's starts, so that the machine is not the limit


@experiment(
    "F14",
    "Executors are alive but deaf: their link to Valkey swallows what comes, or everything",
    threshold="work is claimed by polling, nothing waits longer than a recovery; ready, since the scheduler answers",
    seconds=30,
)
async def executors_are_deaf(lab: Lab) -> None:
    async with (
        lab.world(links=("executor-valkey",)) as world,
        lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load,
    ):
        link = world.links["executor-valkey"]
        await load.reached(20)
        deaf: list[Stretch] = []
        for _ in range(lab.times(3)):
            for direction in ("to_client", "both"):
                logs, watch = Logs(world), Watch()
                link.blackhole("to_client" if direction == "to_client" else "both")
                await _executors_stay_ready(lab, world, seconds=lab.times(10, least=_LEAST_DEAF_SECONDS))
                healed = Logs(world)
                link.heal()
                deaf.append(watch.stop())
                lab.injected(f"blackhole executor-valkey, {direction}")
                told = logs.who_told("hints_unavailable")
                lab.expect(told == {"executor-1", "executor-2"}, f"only {sorted(told)} said that there are no hints")
                await healed.until_told("hints_available", by=2, within=RECOVERY_SECONDS)
        await load.finished()
        await lab.verify(world, load)
        waits = await start_waits(load, deaf)
        lab.measured("longest wait for a start s", max(waits))
        lab.measured("p50 of waits s", percentile(waits, 50))
        lab.measured("runs ended a second while deaf", await ended_a_second(load, deaf))
        lab.expect(max(waits) <= RECOVERY_SECONDS, f"a run waited {max(waits):.1f} s for an executor")


@experiment(
    "F31",
    "Valkey is killed again and again and starts empty; then a cluster of three loses the master of the stream",
    threshold="no violation; a line a second in each log at most; hints are read again within seconds",
    seconds=40,
)
async def valkey_is_killed(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load:
        await load.reached(20)
        logs = Logs(world)
        resumed = [await _kill_valkey(lab, world) for _ in range(lab.times(20, least=3))]
        await load.finished()
        lab.measured("log lines a second", logs.lines_a_second())
        lab.expect(not logs.talkative(), f"more than a line a second: {logs.talkative()}")
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
        lab.measured("p50 until hints s", percentile(resumed, 50))
        lab.measured("longest until hints s", max(resumed))
        lab.expect(percentile(resumed, 50) <= _RESUME_SECONDS, "hints are read again too late")
        await lab.verify(world, load)
    await lab.bench.discard()  # two worlds at once are too much for a small machine
    with short_folder() as folder, valkey_cluster(folder, masters=3, replicas=1) as cluster:
        await _masters_are_lost(lab, cluster)
        await lab.bench.discard()


@experiment(
    "F33",
    "Valkey is away for long",
    threshold="executors poll: 95 % of the runs start within 2 s; no lost work",
    seconds=20,
    in_subset=False,
)
async def valkey_is_away(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load:
        await load.reached(20)
        logs = Logs(world)
        await world.halt("valkey")
        await logs.until_told("hints_unavailable", by=3, within=RECOVERY_SECONDS)
        watch = Watch()
        await _executors_stay_ready(lab, world, seconds=lab.times(60, least=8))
        away = watch.stop()
        lab.injected("Valkey away")
        lab.measured("away s", away.seconds)
        world.resume("valkey")
        await _hints_are_read(world)
        await load.finished()
        await lab.verify(world, load)
        waits = await start_waits(load, [away])
        lab.measured("p95 of waits for a start s", percentile(waits, 95))
        lab.expect(
            percentile(waits, 95) <= _START_SECONDS, f"p95 of {len(waits)} starts is {percentile(waits, 95):.2f} s"
        )
        lab.expect(not logs.talkative(), f"more than a line a second: {logs.talkative()}")


@experiment(
    "F34",
    "Valkey is frozen: it takes connections and never answers",
    threshold="starts are acknowledged as fast as ever: p99 within 500 ms, or twice what the machine needs untouched",
    seconds=20,
    in_subset=False,
)
async def valkey_is_frozen(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=2, pause=_PAUSE) as load:
        await load.reached(20)
        quiet, frozen = [], []
        for _ in range(lab.times(2)):
            quiet.append(await leave_alone(_QUIET_SECONDS))
            world.freeze("valkey")
            frozen.append(await leave_alone(lab.times(15, least=6)))
            world.thaw("valkey")
            lab.injected("SIGSTOP Valkey")
            await _hints_are_read(world)
        await load.finished()
        await lab.verify(world, load)
        usual = percentile(answer_seconds(load, quiet, answered_within=True), 99)
        seen = percentile(answer_seconds(load, frozen), 99)
        lab.measured("frozen s", sum(each.seconds for each in frozen))
        lab.measured("p99 of answers untouched s", usual)
        lab.measured("p99 of answers frozen s", seen)
        lab.measured("p95 of waits for a start s", percentile(await start_waits(load, frozen), 95))
        lab.expect(seen <= max(_ANSWER_SECONDS, 2 * usual), f"p99 of answers is {seen:.2f} s, untouched {usual:.2f} s")


async def _masters_are_lost(lab: Lab, cluster: ValkeyCluster) -> None:
    """A replica takes over, without the newest hints; the old master comes back as a replica."""
    async with (
        lab.world(redis_url=cluster.url) as world,
        lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load,
    ):
        await load.reached(20)
        logs = Logs(world)
        resumed = []
        for _ in range(lab.times(3)):
            lost = cluster.owner()
            lost.stop()
            heir = await asyncio.to_thread(cluster.wait_for_new_owner, lost)
            lab.injected("kill -9 of the stream's master in a cluster")
            client = Redis(unix_socket_path=str(heir.socket), socket_timeout=5)
            resumed.append(await until_read(client, within=RECOVERY_SECONDS))
            await client.aclose()
            lost.start()
            await asyncio.to_thread(cluster.wait_until_whole)
        await load.finished()
        lab.measured("longest until hints after a failover s", max(resumed))
        lab.expect(not logs.talkative(), f"more than a line a second: {logs.talkative()}")
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
        await lab.verify(world, load)


async def _kill_valkey(lab: Lab, world: World) -> float:
    """Kill it, let it start again empty; says how long it took until hints were read again once it was up."""
    member = world.keeper.members["valkey"]
    before = member.starts
    await asyncio.sleep(lab.rng.uniform(*_BETWEEN_SECONDS))
    world.kill("valkey")
    lab.injected("kill -9 Valkey")

    def back() -> None:
        assert member.starts > before, "it was not started again"
        assert member.is_up(), "it does not answer"

    await eventually(back)
    return await _hints_are_read(world)


async def _hints_are_read(world: World) -> float:
    async with world.redis() as client:
        return await until_read(client, within=2 * RECOVERY_SECONDS)


async def _executors_stay_ready(lab: Lab, world: World, *, seconds: float) -> None:
    """Readiness says whether the scheduler answers, which is enough to work."""
    names = [name for name in world.wiring.names() if name.startswith("executor")]
    unready = 0
    async with asyncio.timeout(seconds + 2 * RECOVERY_SECONDS):
        watch = Watch()
        while watch.stop().seconds < seconds:
            await asyncio.sleep(_LOOK_SECONDS)  # part of the fault's length
            for name in names:
                unready += not await asyncio.to_thread(world.keeper.members[name].is_up)
    lab.expect(unready == 0, f"an executor that can work was not ready, {unready} times")
