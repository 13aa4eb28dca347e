"""Clocks that are set forward and back, and days that do not exist."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import grpc

from taskforge.domain.schedule import fires_between
from taskforge.domain.workflow import CronTrigger
from taskforge.v1.schedule_service_pb2 import GetScheduleRequest, ListSchedulesRequest, Schedule
from taskforge.v1.workflow_service_pb2 import ApplyWorkflowsRequest, WorkflowSource
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.almanac import Clock, transitions
from tests.chaos.world.world import World
from tests.support.api import error_of
from tests.support.waiting import eventually

_FIRST_YEAR, _LAST_YEAR = 2026, 2028
_AROUND = timedelta(hours=14)
_SETTLE = timedelta(hours=2)  #: at the window's ends, where a gap or repetition could be cut in two
_PATTERNS = (
    "30 2 * * *",
    "0 2 * * *",
    "*/30 2 * * *",
    "0 * * * *",
    "*/15 * * * *",
    "15 1-3 * * *",
    "5,35 1,2 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "* 2 * * *",
    "30 2 * * 0",
    "30 1 25-31 3,4,9,10,11 0",
)
_SHOWN_DIFFERENCES = 5


@experiment(
    "F54",
    "Daylight saving: zones of the world around each change of their clocks, against a look at every minute",
    threshold="no difference from the documented policy",
    seconds=8,
)
async def clocks_are_changed(lab: Lab) -> None:
    names = sorted(available_timezones())
    chosen = sorted(lab.rng.sample(names, lab.times(len(names))))
    cases, differences = await asyncio.to_thread(_differences, chosen)
    lab.injected("zones", len(chosen))
    lab.injected("changes of clocks x patterns", cases)
    lab.measured("differences", len(differences))
    for difference in differences[:_SHOWN_DIFFERENCES]:
        lab.expect(False, difference)
    lab.expect(cases > 0, "no zone of the sample changes its clocks")


def _differences(names: list[str]) -> tuple[int, list[str]]:
    cases, found = 0, []
    for name in names:
        zone = ZoneInfo(name)
        changes = transitions(zone, _FIRST_YEAR, _LAST_YEAR) or [datetime(_FIRST_YEAR, 3, 29, 1, tzinfo=UTC)]
        for change in changes:
            clock = Clock(zone, change - _AROUND, change + _AROUND)
            start, end = change - _AROUND + _SETTLE, change + _AROUND - _SETTLE
            for pattern in _PATTERNS:
                cases += 1
                expected = [instant for instant in clock.fires(pattern) if start < instant <= end]
                trigger = CronTrigger(id="x", cron=pattern, timezone=name)
                if (computed := fires_between(trigger, start, end, len(expected) + 100)) != expected:
                    wrong = sorted(set(computed) ^ set(expected))[:2]
                    found.append(f"{name} '{pattern}' around {change:%Y-%m-%d %H:%M}Z: {[str(one) for one in wrong]}")
    return cases, found


# --- odd days and patterns, through the API ------------------------------------------------------

_ANSWER_SECONDS = 0.05
_TRIES = 5
_RIGHT = ("0 0 29 2 *", "59 23 31 12 *", "0 0 1 1 *", "0 12 31 1,3,5 *", "30 6 1-7 * 1", "0 0 31 * *")
_REFUSED = (
    "0 0 31 2 *",
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "* * * * * *",
    "* * * * * * *",
    "* * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * * 13 *",
    "* * * * 8",
    "*/0 * * * *",
    "5-1/0 * * * *",
    "-1 * * * *",
    "1e3 * * * *",
    "99999999999999999999 * * * *",
    "\uff11 * * * *",
    "@reboot",
    "@every 1s",
    "1," * 2500 + " * * * *",
    "* * * * " + "MON," * 1250,
    "*" * 5000,
    "* " * 2500,
    "1-" * 2500,
    "0/1" * 1600 + " * * * *",
)
_ZONES = ("Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe/paris/", "UTC+25", "Europe\\Paris", "a" * 5000)
_ZONE_GONE = """
UPDATE {table} SET definition = jsonb_set(definition, '{{timezone}}', '"Mars/Olympus"') WHERE workflow = 'zone-gone'
"""
_SOURCE = "name: {name}\ntriggers: [{{id: tick, cron: {cron}, timezone: {zone}}}]\nsteps: [{{id: note, log: x}}]\n"


@experiment(
    "F56",
    "Days that do not exist, seconds, 5,000 characters, zones that nobody knows, and one that is gone",
    threshold="refused or right, each within 50 ms; one bad schedule stops no other",
    seconds=8,
)
async def odd_calendars(lab: Lab) -> None:
    async with lab.world() as world:
        slowest = 0.0
        for cron, zone in _odd():
            reason, seconds = await _judged(world, cron, zone)
            slowest = max(slowest, seconds)
            shown = f"{cron[:40]!r} in {zone[:20]!r}"
            lab.expect(reason == "WORKFLOW_INVALID", f"{shown} was answered {reason or 'with a yes'}")
            lab.expect(seconds <= _ANSWER_SECONDS, f"{shown} took {1000 * seconds:.0f} ms")
            lab.injected("patterns and zones to refuse")
        for cron in _RIGHT:
            reason, seconds = await _judged(world, cron, "UTC")
            slowest = max(slowest, seconds)
            lab.expect(reason == "", f"{cron!r} was refused: {reason}")
            lab.expect(seconds <= _ANSWER_SECONDS, f"{cron!r} took {1000 * seconds:.0f} ms")
            lab.injected("odd patterns that are right")
        await _right_days(lab, world)
        await _a_zone_is_gone(lab, world)
        lab.measured("slowest answer ms", 1000 * slowest)


def _odd() -> Iterator[tuple[str, str]]:
    yield from ((cron, "UTC") for cron in _REFUSED)
    yield from (("0 0 * * *", zone) for zone in _ZONES)


async def _judged(world: World, cron: str, zone: str) -> tuple[str, float]:
    """Why it is refused, and the time of the quickest answer: what is measured is the work, not the machine."""
    source = _SOURCE.format(name="odd", cron=json.dumps(cron), zone=json.dumps(zone))
    request = ApplyWorkflowsRequest(sources=[WorkflowSource(filename="odd.yaml", source=source)], validate_only=True)
    reason, quickest = "", float("inf")
    for _ in range(_TRIES):
        started = time.perf_counter()
        try:
            await world.api.call(world.api.workflows.ApplyWorkflows, request)
        except grpc.aio.AioRpcError as error:
            reason = error_of(error).reason or error.code().name
        quickest = min(quickest, time.perf_counter() - started)
    return reason, quickest


async def _right_days(lab: Lab, world: World) -> None:
    """The next ticks that the API shows are those of a plain search through the days."""
    for number, cron in enumerate(_RIGHT):
        await world.api.apply(_SOURCE.format(name=f"odd-{number}", cron=json.dumps(cron), zone="UTC"))
        request = GetScheduleRequest(name=f"workflows/odd-{number}/schedules/tick", count=2)
        shown: Schedule = await world.api.call(world.api.schedules.GetSchedule, request)
        told = [tick.time.ToDatetime(tzinfo=UTC) for tick in shown.next_ticks]
        wanted = _next_midnights(cron, datetime.now(UTC))
        lab.expect(told == wanted, f"{cron!r} is said to fire at {told}, not at {wanted}")


def _next_midnights(cron: str, now: datetime) -> list[datetime]:
    fields = cron.split()
    minute, hour = int(fields[0]), int(fields[1])
    found: list[datetime] = []
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    while len(found) < 2:
        instant = day.replace(hour=hour, minute=minute)
        if instant > now and Clock(ZoneInfo("UTC"), instant, instant).fires(cron):
            found.append(instant)
        day += timedelta(days=1)
    return found


async def _a_zone_is_gone(lab: Lab, world: World) -> None:
    """A schedule was stored with a zone that this version's table lacks. The others fire, and all can be listed."""
    names = {"gone": "Europe/Paris", "fine": "UTC"}
    for name, zone in names.items():
        await world.api.apply(_SOURCE.format(name=f"zone-{name}", cron='"* * * * *"', zone=zone))
    async with world.database() as connection:
        await eventually(lambda: _are_scheduled(connection), within=20)
        await connection.execute(_ZONE_GONE.format(table="triggers"))
        await connection.execute(_ZONE_GONE.format(table="schedules"))
        await connection.execute(
            "UPDATE schedules SET next_fire_at = date_trunc('minute', clock_timestamp()) WHERE workflow LIKE 'zone-%'"
        )
        started = time.monotonic()
        await eventually(lambda: _has_fired(connection), within=10)
        lab.measured("others fire within s", time.monotonic() - started)
        lab.injected("zone removed")
        listed = await world.api.call(world.api.schedules.ListSchedules, ListSchedulesRequest())
        ticks: Mapping[str, int] = {one.name: len(one.next_ticks) for one in listed.schedules}
        lab.expect(ticks.get("workflows/zone-gone/schedules/tick") == 0, "the schedule without a zone is not listed")
        lab.expect(ticks.get("workflows/zone-fine/schedules/tick") == 1, "the other schedule is not listed")
        await connection.execute("DELETE FROM triggers WHERE workflow LIKE 'zone-%' OR workflow LIKE 'odd-%'")


async def _are_scheduled(connection: Any) -> None:
    count = await connection.fetchval(
        "SELECT count(*) FROM schedules WHERE workflow LIKE 'zone-%' AND next_fire_at IS NOT NULL"
    )
    assert count == 2, f"{count} of 2 schedules are known"


async def _has_fired(connection: Any) -> None:
    fired = await connection.fetchval(
        "SELECT count(run_id) FROM ticks JOIN schedules USING (trigger_id) WHERE workflow = 'zone-fine'"
    )
    assert fired, "the other schedule has not fired"
