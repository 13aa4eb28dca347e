"""Valkey answers, and what it holds is not what was put there: emptied, old, forged, left behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from taskforge.bus.streams import StepKey
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts import valkey_forgery as forgery
from tests.chaos.world.broker import look, own_valkey, restart_valkey, until_all_read, until_read
from tests.chaos.world.load import Load
from tests.chaos.world.logs import Logs
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.stretches import ended_a_second, leave_alone, percentile, start_waits
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_FLUSH_SECONDS = (2.0, 7.0)  #: between two
_FLUSHES = 3  #: between untouched stretches
_QUIET_SECONDS = 3.0
_KEPT_SHARE = 0.5  #: of the throughput
_FORGED_STEPS = 20
_DUPLICATES = 100
_BETWEEN_SECONDS = (0.2, 1.0)
_OLD_HINTS = 20
_LONGEST_STREAM = 1000  #: hints that executors took with them to the grave, before they are trimmed by age
_PAUSE = 0.05

_STEPS = """
SELECT s.run_id, s.step FROM steps s JOIN runs r USING (run_id)
WHERE r.workflow = $1 ORDER BY s.state = 'QUEUED' DESC, r.created_at DESC LIMIT $2
"""
_CLAIMED_TWICE = """
SELECT count(*) - count(DISTINCT (e.run_id, e.step, e.lease_token)) FROM events e JOIN runs r USING (run_id)
WHERE r.workflow = $1 AND e.step IS NOT NULL AND e.to_state = 'RUNNING'
"""


@experiment(
    "F30",
    "FLUSHALL every 2 to 7 s",
    threshold="no violation; at least half of the throughput of untouched stretches of the same run",
    seconds=25,
)
async def valkey_is_emptied(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=4) as load, world.redis() as client:
        await load.reached(20)
        logs, quiet, flushed = Logs(world), [], []
        for _ in range(lab.times(5)):
            quiet.append(await leave_alone(_QUIET_SECONDS))
            for _ in range(_FLUSHES):
                await client.flushall()
                lab.injected("FLUSHALL")
                flushed.append(await leave_alone(lab.rng.uniform(*_FLUSH_SECONDS)))
        await load.finished()
        await lab.verify(world, load)
        before, after = await ended_a_second(load, quiet), await ended_a_second(load, flushed)
        lab.measured("runs a second untouched", before)
        lab.measured("runs a second emptied", after)
        lab.measured("p95 of waits for a start s", percentile(await start_waits(load, flushed), 95))
        lab.expect(after >= _KEPT_SHARE * before, f"{after:.1f} runs a second, and {before:.1f} untouched")
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")


@experiment(
    "F32",
    "Valkey restarts from an old snapshot: hints that are long spent come back, newer ones are gone",
    threshold="no violation: a step that does not wait is not claimed; every old hint is read and forgotten",
    seconds=25,
)
async def valkey_goes_back(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load:
        for _ in range(lab.times(10)):
            old = await _snapshot_with_unread_hints(world, load)
            async with world.redis() as client:
                await until_all_read(client, within=RECOVERY_SECONDS)
            await restart_valkey(world)
            lab.injected("restart from an old snapshot")
            lab.injected("spent hint that came back", old)
            lab.expect(old > 0, "no hint was in the snapshot")
            async with world.redis() as client:
                await until_read(client, within=RECOVERY_SECONDS)
                await until_all_read(client, within=RECOVERY_SECONDS)
            own_valkey(world).folder.joinpath("dump.rdb").unlink()
        await load.finished()
        await _nothing_was_done_twice(lab, world, load)
        await lab.verify(world, load)


@experiment(
    "F36",
    "Hints are trimmed, stolen, forged, doubled a hundredfold and mixed with garbage, and their group is destroyed",
    threshold="no violation; a step is claimed once a token and asked for once; no traceback in any log",
    seconds=20,
    in_subset=False,  # counts requests: a machine that starves an executor for a lease would fail it
)
async def hints_are_forged(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=4, pause=_PAUSE) as load:
        await load.reached(20)
        logs = Logs(world)
        async with world.redis() as client:
            for _ in range(lab.times(10, least=2)):
                await _forge(lab, client, load)
        await load.finished()
        await _nothing_was_done_twice(lab, world, load)
        lab.measured("log lines a second", logs.lines_a_second())
        lab.expect(not logs.talkative(), f"more than a line a second: {logs.talkative()}")
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
        await lab.verify(world, load)


@experiment(
    "F37",
    "Executors end and start again, killed or asked to, many times",
    threshold="one consumer in the group, nothing pending or unread, and a stream that does not grow",
    seconds=30,
)
async def executors_come_and_go(lab: Lab) -> None:
    names = ("executor-1", "executor-2")
    async with lab.world() as world, lab.load(world, runs=None, at_once=3, pause=_PAUSE) as load:
        longest = 0
        for _ in range(lab.times(20, least=4)):
            for name in names:
                await _restart(lab, world, name)
            await world.settled()
            async with world.redis() as client:
                longest = max(longest, (await look(client)).length)
        await load.finished()
        await lab.verify(world, load)
        async with world.redis() as client:
            left = await until_all_read(client, within=RECOVERY_SECONDS)
        lab.measured("consumers", len(left.consumers))
        lab.measured("pending", left.pending)
        lab.measured("longest stream", longest)
        lab.expect(len(left.consumers) <= 1, f"consumers were left behind: {left.consumers}")
        lab.expect(left.pending == 0, f"{left.pending} hints are pending")
        lab.expect(longest <= _LONGEST_STREAM, f"the stream grew to {longest} hints")


async def _forge(lab: Lab, client: Redis, load: Load) -> None:
    """Everything that can be done to the stream, once each, in a random order."""
    steps = await _recent_steps(load)
    runs = list(dict.fromkeys(run_id for run_id, _ in steps))
    acts: list[tuple[str, Callable[[], Awaitable[int]]]] = [
        ("XTRIM 0", lambda: forgery.trim_all(client)),
        ("XGROUP DESTROY", lambda: forgery.destroy_group(client)),
        ("DELCONSUMER with hints pending", lambda: _steal_and_delete(client)),
        ("garbage", lambda: forgery.add_garbage(client, lab.rng)),
        (f"{_DUPLICATES} duplicates of a hint", lambda: forgery.add_duplicates(client, steps, _DUPLICATES)),
        ("hints for what is unknown", lambda: forgery.add_unknown(client, runs)),
        ("hints for steps that do not wait", lambda: forgery.add_duplicates(client, _other_steps(runs), 1)),
    ]
    lab.rng.shuffle(acts)
    for name, act in acts:
        await act()
        lab.injected(name)
        await asyncio.sleep(lab.rng.uniform(*_BETWEEN_SECONDS))


async def _steal_and_delete(client: Redis) -> int:
    """There must be a group for it, which executors make soon after it was destroyed."""

    async def done() -> int:
        try:
            await forgery.steal(client)
            return await forgery.delete_consumers(client)
        except ResponseError as error:
            raise AssertionError("there is no group") from error

    found: int = await eventually(done, within=RECOVERY_SECONDS)
    return found


def _other_steps(runs: Sequence[Any]) -> list[StepKey]:
    return [(run_id, step) for run_id in runs for step in (0, 1, 2)]


async def _recent_steps(load: Load) -> list[StepKey]:
    async with load.world.database() as connection:
        rows = await connection.fetch(_STEPS, load.name, _FORGED_STEPS)
    return [(row["run_id"], row["step"]) for row in rows]


async def _nothing_was_done_twice(lab: Lab, world: World, load: Load) -> None:
    """Nobody was killed, so that every step is claimed and asked for once."""
    async with world.database() as connection:
        twice = await connection.fetchval(_CLAIMED_TWICE, load.name)
    lab.expect(twice == 0, f"{twice} claims of a step were granted twice under one token")
    lines = load.ledger_lines()
    again = len(lines) - len({(line.run_id, line.step) for line in lines})
    lab.expect(again == 0, f"{again} requests were sent more than once")


async def _snapshot_with_unread_hints(world: World, load: Load) -> int:
    """Save what Valkey holds while no executor reads; says how many hints that were."""
    for name in ("executor-1", "executor-2"):
        await world.halt(name, signal.SIGTERM)
    await load.reached(len(load.acknowledged) + _OLD_HINTS)
    own_valkey(world).save()
    async with world.redis() as client:
        unread = (await look(client)).unread
    for name in ("executor-1", "executor-2"):
        world.resume(name)
    await world.settled()
    return unread


async def _restart(lab: Lab, world: World, name: str) -> None:
    number = lab.rng.choice([signal.SIGKILL, signal.SIGTERM])
    member = world.keeper.members[name]
    before = member.starts
    world.kill(name, number)
    lab.injected(f"{number.name} executor")

    def again() -> None:
        assert member.starts > before, f"{name} has not ended"

    await eventually(again, within=30.0)
