"""What the schedules of a workflow did, for the checker. When they should have ticked is found without the product."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from taskforge.invariants.check import check
from taskforge.invariants.rows import History, ScheduleRow, TickRow, Violation, grouped
from tests.chaos.parts.almanac import Clock
from tests.chaos.world.world import World
from tests.support.waiting import eventually

MISSED_WINDOW = "MISSED_WINDOW"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
#: Schedules in SQL, as the gateway writes their triggers.
ADD_TRIGGERS = """
INSERT INTO triggers (trigger_id, workflow, id, kind, revision_id, path_key, definition)
SELECT gen_random_uuid(), w.name, 'tick-' || number, 'schedule', w.revision_id, '',
       jsonb_build_object('id', 'tick-' || number, 'cron', $2::text, 'timezone', 'UTC', 'overlap', 'skip',
                          'inputs', '{}'::jsonb)
FROM workflows AS w, generate_series(1, $3::integer) AS number
WHERE w.name = $1
"""
_SCHEDULES = """
SELECT trigger_id, id, definition, updated_at, next_fire_at,
       extract(epoch FROM clock_timestamp() - next_fire_at)::float8 AS overdue_for
FROM schedules WHERE workflow = $1
"""
_TICKS = """
SELECT k.trigger_id, k.nominal_at, k.outcome, k.run_id, k.handled_at, r.cause_id AS run_cause
FROM ticks AS k JOIN schedules AS s USING (trigger_id) LEFT JOIN runs AS r USING (run_id)
WHERE s.workflow = $1
"""
_STRAYS = """
SELECT r.run_id FROM runs AS r
WHERE r.workflow = $1 AND r.cause_kind = 'schedule' AND NOT EXISTS (
    SELECT 1 FROM triggers AS t JOIN ticks AS k USING (trigger_id)
    WHERE t.workflow = r.workflow AND k.run_id = r.run_id)
"""
_OVERDUE = "SELECT count(*) FROM schedules WHERE workflow = $1 AND next_fire_at < clock_timestamp() - $2::interval"


async def read_timetable(connection: Any, workflow: str) -> History:
    """Schedules, when each was due since it was made, and their ticks."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        schedules = await connection.fetch(_SCHEDULES, workflow)
        ticks = [TickRow(**row) for row in await connection.fetch(_TICKS, workflow)]
    by_schedule = grouped(ticks, lambda tick: tick.trigger_id)
    rows = []
    for row in schedules:
        until = row["next_fire_at"] - _INSTANT
        due = instants(json.loads(row["definition"]), row["updated_at"], until)
        rows.append(
            ScheduleRow(
                trigger_id=row["trigger_id"],
                name=f"{workflow}/{row['id']}",
                due=_recorded_alone(due, by_schedule[row["trigger_id"]]),
                overdue_for=row["overdue_for"],
            )
        )
    return History(schedules=rows, ticks=ticks)


def _recorded_alone(due: list[datetime], ticks: Sequence[TickRow]) -> list[datetime]:
    """Without what was missed so long ago that the tick before stands for it."""
    ordered = sorted((tick.nominal_at, tick.outcome) for tick in ticks)
    following = [*(nominal for nominal, _ in ordered[1:]), datetime.max.replace(tzinfo=UTC)]
    spans = [(nominal, end) for (nominal, kind), end in zip(ordered, following, strict=False) if kind == MISSED_WINDOW]
    return [instant for instant in due if not any(begin < instant < end for begin, end in spans)]


def instants(definition: dict[str, Any], after: datetime, until: datetime) -> list[datetime]:
    """When a schedule fires after an instant, up to another one."""
    if definition.get("every"):
        step = timedelta(seconds=definition["every"])
        first = (after - _EPOCH) // step + 1
        return [_EPOCH + number * step for number in range(first, (until - _EPOCH) // step + 1)]
    begin = after.replace(second=0, microsecond=0)
    clock = Clock(ZoneInfo(definition.get("timezone", "UTC")), begin, until)
    return [instant for instant in clock.fires(definition["cron"]) if after < instant <= until]


async def judge_timetable(connection: Any, workflow: str) -> tuple[History, Sequence[Violation]]:
    """The timetable, and every violation of I19 and I20 in it."""
    history = await read_timetable(connection, workflow)
    found = check(history)
    for row in await connection.fetch(_STRAYS, workflow):
        found.append(Violation(invariant="I19", run_id=row["run_id"], message="no tick knows this run of a schedule"))
    return history, found


def outcomes(history: History) -> Counter[str]:
    """How many ticks had which outcome."""
    return Counter(tick.outcome for tick in history.ticks)


def lateness(history: History) -> list[float]:
    """How late the fired ticks were, in seconds, shortest first."""
    return sorted((tick.handled_at - tick.nominal_at).total_seconds() for tick in history.ticks if tick.run_id)


async def up_to_date(world: World, workflow: str, *, within: float, by: timedelta) -> None:
    """Wait until no schedule of a workflow is overdue by more than `by`."""

    async def assertion() -> None:
        async with world.database() as connection:
            overdue = await connection.fetchval(_OVERDUE, workflow, by)
        assert overdue == 0, f"{overdue} schedules are overdue"

    await eventually(assertion, within=within, pause=0.2)


async def runs_have_ended(world: World, workflow: str, *, within: float, when: Callable[[], str] = str) -> None:
    """Wait until every run of a workflow SUCCEEDED."""

    async def assertion() -> None:
        async with world.database() as connection:
            rows = await connection.fetch("SELECT state, count(*) FROM runs WHERE workflow = $1 GROUP BY 1", workflow)
        states = {row["state"]: row["count"] for row in rows}
        assert not set(states) - {"SUCCEEDED"}, f"{when()} the runs are {states}"

    await eventually(assertion, within=within, pause=0.5)
