"""Schedules: whatever becomes of schedulers, each tick is handled once, and none is lost without a word."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from taskforge.failpoints import Point
from taskforge.invariants.rows import History, TickRow, grouped
from taskforge.v1.run_service_pb2 import ListRunsRequest
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.timetable import (
    ADD_TRIGGERS,
    MISSED_WINDOW,
    instants,
    judge_timetable,
    lateness,
    outcomes,
    runs_have_ended,
    up_to_date,
)
from tests.chaos.world.settings import RECOVERY_SECONDS, SWEEP_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_FLOW = "name: {name}\ntriggers: [{triggers}]\nsteps: [{{id: note, log: tick}}]\n"
_MEGABYTE = 1024 * 1024
_SCHEDULER = "scheduler-1"


@experiment(
    "F03",
    "The scheduler is killed every 0.5 to 3 s, some of the time between selecting and firing, while schedules tick",
    threshold="each tick has one row and one run at most, none is missing; none is due for long afterwards",
    seconds=20,
)
async def schedulers_are_killed(lab: Lab) -> None:
    async with lab.world() as world:
        name = f"f03-{lab.outcome.seed}-{lab.rng.getrandbits(32):08x}"
        count = lab.times(500)
        triggers = ", ".join(f"{{id: tick-{number}, every: 1s}}" for number in range(count))
        await world.api.apply(_FLOW.format(name=name, triggers=triggers))
        for number in range(lab.times(60, least=6)):
            await asyncio.sleep(lab.rng.uniform(0.5, 3.0))  # the life of a scheduler
            if number % 3:
                world.kill(_SCHEDULER)
                lab.injected("kill -9 scheduler")
            else:
                point = lab.rng.choice((Point.DUE_SELECTED, Point.BEFORE_COMMIT, Point.FIRING_COMMITTED))
                world.shots.arm(point, action="kill", service="scheduler")
                lab.injected(f"kill -9 scheduler at {point}")
        world.shots.disarm()
        await world.settled()
        await up_to_date(world, name, within=RECOVERY_SECONDS + 20, by=timedelta(seconds=2 * SWEEP_SECONDS))
        history = await _judge(lab, world, name)
        lab.measured("schedules", count)
        lab.measured("ticks", len(history.ticks))
        for outcome, ticks in outcomes(history).items():
            lab.measured(outcome.lower(), ticks)
        await _remove(world, name)
        await runs_have_ended(world, name, within=RECOVERY_SECONDS + 0.01 * len(history.ticks))


# --- many at once --------------------------------------------------------------------------------

_NEVER = "0 0 1 1 *"  #: a pattern that does not fire by itself while this runs
_FIRE_SECONDS = 60.0
_API_SECONDS = 1.0
_AHEAD_SECONDS = 3.0
_MOVE = "UPDATE schedules SET next_fire_at = $2, updated_at = $2::timestamptz - interval '1 minute' WHERE workflow = $1"


@experiment(
    "F48",
    "100,000 schedules are due at the same instant",
    threshold="all fired once within 60 s; the API answers within 1 s at p99; memory stays bounded",
    seconds=25,
    in_subset=False,
)
async def everything_is_due(lab: Lab) -> None:
    count = lab.times(100_000)
    async with lab.world() as world:
        name = f"f48-{lab.outcome.seed}-{lab.rng.getrandbits(32):08x}"
        await world.api.apply(_FLOW.format(name=name, triggers=""))
        async with world.database() as connection:
            started = time.monotonic()
            await connection.execute(ADD_TRIGGERS, name, _NEVER, count, timeout=120)
            await _are_known(connection, name, count)
            lab.measured("made known within s", time.monotonic() - started)
            before = _memory(world)
            due_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=_AHEAD_SECONDS + count / 20_000)
            await connection.execute(_MOVE, name, due_at, timeout=120)
            lab.injected("schedules due at once", count)
            asking = asyncio.create_task(_ask(world), name="caller")
            await _have_ticked(connection, name, count, within=_AHEAD_SECONDS + 4 * _FIRE_SECONDS)
            asking.cancel()
            answers = await asking
            late = [row["late"] for row in await connection.fetch(_LATE, name)]
            lab.expect(len(late) == count, f"{count} schedules were due, {len(late)} runs were started")
            doubled = await connection.fetchval(_DOUBLED, name)
            lab.expect(doubled == 0, f"{doubled} ticks started more than one run")
        lab.measured("lateness p50 s", statistics.median(late))
        lab.measured("lateness max s", max(late))
        lab.measured("API p99 s", _p99(answers))
        lab.measured("scheduler's growth MB", _memory(world) - before)
        lab.expect(max(late) <= _FIRE_SECONDS, f"the last one fired after {max(late):.1f} s")
        lab.expect(_p99(answers) <= _API_SECONDS, f"the API's p99 was {_p99(answers):.2f} s")
        lab.expect(_memory(world) - before < _MOST_MEGABYTES, f"the scheduler grew by {_memory(world) - before:.0f} MB")
        lab.outcome.runs += len(late)
        await _remove(world, name)
    await lab.bench.discard()  # it has more runs waiting than anybody wants to see the end of


_MOST_MEGABYTES = 256.0
_LATE = """
SELECT extract(epoch FROM k.handled_at - k.nominal_at)::float8 AS late
FROM ticks AS k JOIN schedules AS s USING (trigger_id) JOIN runs AS r USING (run_id) WHERE s.workflow = $1
"""
_DOUBLED = """
SELECT count(*) FROM (SELECT 1 FROM runs WHERE workflow = $1 GROUP BY cause_trigger, cause_id HAVING count(*) > 1) AS d
"""
_TICKED = "SELECT count(*) FROM ticks JOIN schedules USING (trigger_id) WHERE workflow = $1"


async def _are_known(connection: Any, name: str, count: int) -> None:
    async def assertion() -> None:
        known = await connection.fetchval("SELECT count(*) FROM schedules WHERE workflow = $1", name)
        assert known == count, f"{known} of {count} schedules are known"

    await eventually(assertion, within=60 + count / 250, pause=0.25)


async def _have_ticked(connection: Any, name: str, count: int, *, within: float) -> None:
    async def assertion() -> None:
        ticked = await connection.fetchval(_TICKED, name)
        assert ticked == count, f"{ticked} of {count} schedules have ticked"

    await eventually(assertion, within=within, pause=0.5)


async def _ask(world: World) -> list[float]:
    """List runs all the time, and say how long each answer took; ends when it is cancelled."""
    found = []
    request = ListRunsRequest(page_size=20)
    try:
        while True:
            started = time.perf_counter()
            await world.api.call(world.api.runs.ListRuns, request)
            found.append(time.perf_counter() - started)
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return found


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else float("inf")


def _memory(world: World) -> float:
    found: int = psutil.Process(world.pids()[_SCHEDULER]).memory_info().rss
    return found / _MEGABYTE


# --- downtime ------------------------------------------------------------------------------------

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_WINDOW = timedelta(hours=24)
_SLACK = timedelta(seconds=3)
#: What is scheduled, and for how long nobody was there.
_DOWNTIMES = (
    ("every: 1s", _HOUR),
    ("every: 10s", _HOUR),
    ("every: 1m", 3 * _DAY),
    ('cron: "* * * * *"', _HOUR),
    ('cron: "*/5 * * * *"', 30 * _HOUR),
    ('cron: "0 * * * *"', 5 * _HOUR),
    ('cron: "30 3 * * *", timezone: Europe/Paris', 10 * _DAY),
    ('cron: "0 0 1 * *"', 40 * _DAY),
)


@experiment(
    "F49",
    "The scheduler was down for an hour to 40 days while schedules were due",
    threshold="the newest tick of the last day fires, the others are recorded as missed, nothing fires twice",
    seconds=20,
)
async def nobody_was_there(lab: Lab) -> None:
    async with lab.world() as world:
        name = f"f49-{lab.outcome.seed}-{lab.rng.getrandbits(32):08x}"
        copies = lab.times(50)
        kinds = [kind for kind in _DOWNTIMES for _ in range(copies)]
        triggers = ", ".join(f"{{id: tick-{number}, {kind}}}" for number, (kind, _) in enumerate(kinds))
        await world.api.apply(_FLOW.format(name=name, triggers=triggers))
        async with world.database() as connection:
            await _are_known(connection, name, len(kinds))
            await world.halt(_SCHEDULER)
            await _forget(connection, name)
            for row in await connection.fetch(
                "SELECT trigger_id, id, definition FROM schedules WHERE workflow = $1", name
            ):
                since = datetime.now(UTC) - kinds[int(row["id"].removeprefix("tick-"))][1]
                due = instants(json.loads(row["definition"]), since, datetime.now(UTC))
                await connection.execute(_SINCE, row["trigger_id"], since, due[0])
                lab.injected("ticks while nobody was there", len(due))
        back_at = datetime.now(UTC)
        world.resume(_SCHEDULER)
        await up_to_date(world, name, within=60 + 2 * copies, by=timedelta(seconds=SWEEP_SECONDS))
        lab.measured("caught up within s", (datetime.now(UTC) - back_at).total_seconds())
        history = await _judge(lab, world, name)
        for trigger_id, ticks in grouped(history.ticks, lambda tick: tick.trigger_id).items():
            _expect_policy(lab, str(trigger_id), ticks)
        for outcome, number in outcomes(history).items():
            lab.measured(outcome.lower(), number)
        await _remove(world, name)
        await runs_have_ended(world, name, within=RECOVERY_SECONDS + 20)


async def _forget(connection: Any, name: str) -> None:
    """What has fired since the schedules were made belongs to another past than the one that they are given."""
    await connection.execute(
        "DELETE FROM ticks USING schedules AS s WHERE s.workflow = $1 AND s.trigger_id = ticks.trigger_id", name
    )
    for table in ("attempts", "events", "logs", "steps", "runs"):
        await connection.execute(
            f"DELETE FROM {table} WHERE run_id IN (SELECT run_id FROM runs WHERE workflow = $1)",  # noqa: S608
            name,
        )


_SINCE = "UPDATE schedules SET updated_at = $2, next_fire_at = $3 WHERE trigger_id = $1"


def _expect_policy(lab: Lab, schedule: str, ticks: list[TickRow]) -> None:
    """The first firing ends the downtime; what lies before it was missed, by more than the window or by less."""
    ticks.sort(key=lambda tick: tick.nominal_at)
    fired = [tick for tick in ticks if tick.outcome == "FIRED"]
    missed = [tick for tick in ticks if not fired or tick.nominal_at < fired[0].nominal_at]
    for number, tick in enumerate(missed):
        is_old = tick.handled_at - tick.nominal_at > _WINDOW
        wanted = MISSED_WINDOW if is_old and number == 0 else "COALESCED"
        lab.expect(tick.outcome == wanted, f"{schedule}: the tick at {tick.nominal_at} is {tick.outcome}, not {wanted}")
        lab.expect(number == 0 or not is_old, f"{schedule}: the tick at {tick.nominal_at} is too old for a row")
    is_due = any(tick.handled_at - tick.nominal_at <= _WINDOW - _SLACK for tick in ticks)
    lab.expect(bool(fired) or not is_due, f"{schedule}: nothing has fired")
    if fired:
        newer = fired[0].nominal_at + _SLACK, fired[0].handled_at - _SLACK
        passed = [tick.nominal_at for tick in ticks if newer[0] < tick.nominal_at < newer[1]]
        lab.expect(not passed, f"{schedule}: {fired[0].nominal_at} fired, though {passed[-1:]} was newer")


# --- common --------------------------------------------------------------------------------------


async def _judge(lab: Lab, world: World, name: str) -> History:
    async with world.database() as connection:
        history, violations = await judge_timetable(connection, name)
    lab.outcome.violations += [str(violation) for violation in violations]
    fired = lateness(history)
    lab.outcome.runs += len(fired)
    lab.expect(bool(fired), "nothing has fired")
    return history


async def _remove(world: World, name: str) -> None:
    """Let nothing tick any more; what was started goes on."""
    async with world.database() as connection:
        await connection.execute("DELETE FROM triggers WHERE workflow = $1", name)
