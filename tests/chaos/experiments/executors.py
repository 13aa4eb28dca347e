"""Steps that want everything: memory, the processor, and the life of whoever runs them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.load import HEAD, Load, Workload
from tests.chaos.world.settings import LEASE_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_GREEDY = """
  - id: greed
    timeout: {timeout}
    transform: {{{{jq: {program}}}}}
"""


def _greedy(program: str, *, timeout: str) -> Workload:
    source = HEAD + _GREEDY.format(program=json.dumps(program), timeout=timeout)
    return Workload(source=source, expected=frozenset({"FAILED"}))


#: A text of 1 GB; and a program that never ends.
_HUNGRY = _greedy('"x" * 1e9', timeout="20s")
_ENDLESS = _greedy("def f: f; f", timeout="2s")
_BUSY = _greedy("def f: f; f", timeout=f"{2 * LEASE_SECONDS:g}s")
_POISON = Workload(
    source=HEAD
    + """
  - id: poison
    http: {{url: "{ledger}/poison?delay=30&ticket=${{{{ inputs.ticket }}}}"}}
""",
    callers={"poison": 0},
    expected=frozenset({"FAILED"}),
)

_STEADY = 0.15  #: seconds between one start and the next of each of the neighbours' callers
_CALM_SECONDS = 4.0  #: of watching the neighbours alone
_SLOWER = 3.0  #: neighbours may become so many times slower while others use up both processors …
_ANYWAY_SECONDS = LEASE_SECONDS  #: … and so much for nothing
_MAX_CRASHES = 3  #: the scheduler's, by default
_THROUGHPUT = 0.8

_DURATIONS = """
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at))::float8
FROM runs WHERE workflow = $1 AND created_at BETWEEN $2 AND $3
"""
_KINDS = """
SELECT s.error->>'kind' AS kind, s.error->>'message' AS message, count(*) AS count
FROM steps s JOIN runs r USING (run_id) WHERE r.workflow = $1 GROUP BY 1, 2
"""
_LOST = """
SELECT count(*) FROM attempts a JOIN runs r USING (run_id)
WHERE r.workflow = ANY($1::text[]) AND a.outcome IN ('CRASHED', 'UNKNOWN')
"""
_HELD = """
SELECT s.executor_id, s.attempt FROM steps s JOIN runs r USING (run_id)
WHERE r.workflow = $1 AND s.state = 'RUNNING' AND s.attempt > $2
"""
_FAILED = """
SELECT s.state, s.crashes, (SELECT count(*) FROM dead_letters d WHERE d.run_id = s.run_id) AS letters
FROM steps s JOIN runs r USING (run_id) WHERE r.workflow = $1
"""
_RATES = """
SELECT count(*) FILTER (WHERE created_at BETWEEN $2 AND $3) AS started,
       count(*) FILTER (WHERE ended_at BETWEEN $2 AND $3) AS ended
FROM runs WHERE workflow = $1
"""
_NOW = "SELECT clock_timestamp()"


@experiment(
    "F10",
    "Steps that want 1 GB of memory, and steps that never end, beside others",
    threshold="each fails with a typed error; neighbours go on, no executor restarts, none loses a lease",
    seconds=14,
    in_subset=False,
)
async def steps_are_greedy(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=2, pause=_STEADY) as neighbours:
        before = _executors(world)
        started = await _moment(world)
        await asyncio.sleep(_CALM_SECONDS)
        greedy_from = await _moment(world)
        count = lab.times(20, least=4)
        async with (
            lab.load(world, runs=count, workload=_HUNGRY, at_once=4) as hungry,
            lab.load(world, runs=count, workload=_ENDLESS, at_once=4) as endless,
        ):
            lab.injected("step of 1 GB", count)
            lab.injected("endless step", count)
            await hungry.finished()
            await endless.finished(within=30.0 + count)
            greedy_until = await _moment(world)
            await neighbours.finished()
            for load in (hungry, endless, neighbours):
                await lab.verify(world, load)
            await _fail_as(lab, world, hungry, {"EXPRESSION"}, "512 MiB of memory")
            await _fail_as(lab, world, endless, {"EXPRESSION", "TIMEOUT"}, "")
            calm = await _p95(world, neighbours, started, greedy_from)
            beside = await _p95(world, neighbours, greedy_from, greedy_until)
            lab.measured("neighbours' p95 alone s", calm)
            lab.measured("neighbours' p95 beside s", beside)
            slow = f"neighbours took {beside:.2f} s instead of {calm:.2f} s"
            lab.expect(beside <= max(_SLOWER * calm, calm + _ANYWAY_SECONDS), slow)
            await _nobody_was_lost(lab, world, before, (hungry, endless, neighbours))


@experiment(
    "F12",
    "Steps that keep every processor busy for two leases",
    threshold="no lease is lost, neither theirs nor another's",
    seconds=14,
)
async def steps_are_busy(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=2, pause=_STEADY) as neighbours:
        before = _executors(world)
        for _ in range(lab.times(4)):
            count = 2 * (os.cpu_count() or 2)
            async with lab.load(world, runs=count, workload=_BUSY, at_once=count) as busy:
                lab.injected("endless step for two leases", count)
                await busy.finished(within=60.0)
                await lab.verify(world, busy)
                await _nobody_was_lost(lab, world, before, (busy, neighbours))
        await neighbours.finished()
        await lab.verify(world, neighbours)
        await _nobody_was_lost(lab, world, before, (neighbours,))


@experiment(
    "F13",
    "A step that kills its executor at each attempt",
    threshold="FAILED after three executors with exactly one dead letter; the others' throughput stays above 80 %",
    seconds=30,
    in_subset=False,
)
async def steps_are_poison(lab: Lab) -> None:
    async with lab.world(executors=3) as world, lab.load(world, runs=None, at_once=2, pause=_STEADY) as others:
        await others.reached(5)
        calm_from = await _moment(world)
        await asyncio.sleep(_CALM_SECONDS)
        calm_until = await _moment(world)
        for _ in range(lab.times(3)):
            async with lab.load(world, runs=1, workload=_POISON, at_once=1) as poison:
                for attempt in range(_MAX_CRASHES):
                    name = await _holder(world, poison, attempt)
                    world.kill(name)
                    lab.injected("kill -9 of the executor with the poison")
                await poison.finished()
                await lab.verify(world, poison)
                await _is_buried(lab, world, poison)
        poisoned_until = await _moment(world)
        await others.finished()
        await lab.verify(world, others)
        async with world.database() as connection:
            calm = await connection.fetchrow(_RATES, others.name, calm_from, calm_until)
            beside = await connection.fetchrow(_RATES, others.name, calm_until, poisoned_until)
        lab.measured("others alone, ended of started", calm["ended"] / calm["started"])
        lab.measured("others beside, ended of started", beside["ended"] / beside["started"])
        few = f"of {beside['started']} runs that others started beside the poison, {beside['ended']} ended"
        lab.expect(beside["ended"] >= _THROUGHPUT * beside["started"], few)


async def _holder(world: World, load: Load, attempt: int) -> str:
    """The name of the executor that holds the poison's next attempt, and has sent its request."""

    async def held() -> str:
        async with world.database() as connection:
            row = await connection.fetchrow(_HELD, load.name, attempt)
        assert row is not None, f"nobody runs attempt {attempt + 1} of the poison"
        assert len(load.ledger_lines()) > attempt, "its request has not arrived"
        names = _names(world)
        assert row["executor_id"] in names, f"nobody has said that it is {row['executor_id']}"
        return names[row["executor_id"]]

    return str(await eventually(held, within=30.0, pause=0.1))


def _names(world: World) -> Mapping[UUID, str]:
    """The executors that have been, by their ids: each says its own in its log."""
    found = {}
    for name in world.wiring.names():
        if name.startswith("executor-"):
            for line in world.log(name).read_text(encoding="utf-8", errors="replace").splitlines():
                if '"executor_ready"' in line:
                    found[UUID(json.loads(line)["executor"])] = name
    return found


async def _is_buried(lab: Lab, world: World, load: Load) -> None:
    async with world.database() as connection:
        row = await connection.fetchrow(_FAILED, load.name)
    found = (row["state"], row["crashes"], row["letters"])
    lab.expect(found == ("FAILED", _MAX_CRASHES, 1), f"the poison ended as {found}")
    requests = len(load.ledger_lines())
    lab.expect(requests == _MAX_CRASHES, f"the poison was sent {requests} times")


async def _fail_as(lab: Lab, world: World, load: Load, kinds: set[str], message: str) -> None:
    async with world.database() as connection:
        rows = await connection.fetch(_KINDS, load.name)
    for row in rows:
        right = (row["kind"] or "").upper() in kinds and message in (row["message"] or "")
        lab.expect(right, f"{row['count']} greedy steps failed as {row['kind']}: {row['message']}")


async def _nobody_was_lost(lab: Lab, world: World, before: Mapping[str, int], loads: tuple[Load, ...]) -> None:
    async with world.database() as connection:
        lost = await connection.fetchval(_LOST, [load.name for load in loads])
    lab.expect(lost == 0, f"{lost} attempts lost their lease")
    lab.expect(_executors(world) == before, f"executors were {before} and are {_executors(world)}")


def _executors(world: World) -> Mapping[str, int]:
    return {name: pid for name, pid in world.pids().items() if name.startswith("executor-")}


async def _moment(world: World) -> Any:
    async with world.database() as connection:
        return await connection.fetchval(_NOW)


async def _p95(world: World, load: Load, since: Any, until: Any) -> float:
    async with world.database() as connection:
        return float(await connection.fetchval(_DURATIONS, load.name, since, until) or 0.0)
