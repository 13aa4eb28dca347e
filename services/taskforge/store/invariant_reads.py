"""What the invariants are checked against, read in pages: each is bounded, and each is of one moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from taskforge.domain.schedule import CATCH_UP_WINDOW, TickOutcome, fires_between
from taskforge.domain.states import DeadLetterState, RunState
from taskforge.invariants.rows import (
    AttemptRow,
    CauseRow,
    EventRow,
    History,
    LetterRow,
    RunRow,
    ScheduleRow,
    StepRow,
    TickRow,
)
from taskforge.store.pool import Connection, Database
from taskforge.store.run_reads import lowest_id
from taskforge.store.trigger_json import cron_from_json

FILE = "invariants"
#: Events of a page. A run with more of them is a page of its own.
EVENT_BUDGET = 20_000
#: Ticks of a page, and instants at which a schedule was due.
TICKS = 500

_DAWN = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_LAST_ID = (1 << 128) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFilter:
    """What to check. An empty `workflow` and a missing `since` mean everything."""

    workflow: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickPlace:
    """Where to go on with the ticks: at a schedule, after an instant; without one, at its beginning."""

    trigger_id: UUID
    after: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Some runs with everything that belongs to them. `before` is where older ones begin, None at the end."""

    history: History
    before: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickPage:
    """Some ticks of one schedule. `place` is where it goes on, None at the end; `finished`: the schedule is done."""

    history: History
    place: TickPlace | None
    finished: bool = False


class InvariantReads:
    """Reads histories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def runs(self, wanted: CheckFilter, *, before: UUID, limit: int) -> RunPage:
        """At most so many runs that are older than `before`, newest first; fewer if they have long histories."""
        values: dict[str, Any] = {
            "before": before,
            "lowest": lowest_id(wanted.since),
            "since": wanted.since or _DAWN,
            "limit": limit + 1,
        }
        name = "find_runs"
        if wanted.workflow:
            name = "find_runs_of_workflow"
            values |= {"workflow": wanted.workflow, "states": list(RunState)}
        async with self._database.snapshot(FILE) as connection:
            found = await connection.rows(name, **values)
            page = _within_budget(found[:limit])
            history = await read_runs(connection, page)
        return RunPage(history=history, before=page[-1] if len(page) < len(found) else None)

    async def ticks(self, wanted: CheckFilter, place: TickPlace) -> TickPage:
        """The ticks of one schedule after a place, and when it should have ticked since its definition last changed."""
        async with self._database.snapshot(FILE) as connection:
            schedule = await connection.row("find_schedule", from_id=place.trigger_id, workflow=wanted.workflow)
            if schedule is None:
                return TickPage(history=History(), place=None)
            begun = schedule["trigger_id"] == place.trigger_id and place.after is not None
            after = place.after if begun and place.after else wanted.since or _DAWN
            rows = await connection.rows("read_ticks", trigger_id=schedule["trigger_id"], after=after, limit=TICKS)
        ticks = [TickRow(**row) for row in rows]
        # Finding instants is plain computing, and may take a while for a rare pattern.
        return await asyncio.to_thread(_tick_page, schedule, ticks, after)


async def read_runs(connection: Connection, run_ids: Sequence[UUID]) -> History:
    """Everything that belongs to some runs. For one moment's view, the connection is in a snapshot."""
    if not run_ids:
        return History()
    connection = connection.using(FILE)
    ids = list(run_ids)
    runs = [RunRow(**row) for row in await connection.rows("read_runs", run_ids=ids)]
    return History(
        runs=runs,
        steps=[StepRow(**row) for row in await connection.rows("read_steps", run_ids=ids)],
        attempts=[AttemptRow(**row) for row in await connection.rows("read_attempts", run_ids=ids)],
        events=[EventRow(**row) for row in await connection.rows("read_events", run_ids=ids)],
        letters=await _letters(connection, ids),
        causes=[*await _deliveries(connection, runs), *await _ticks(connection, runs)],
    )


async def _letters(connection: Connection, run_ids: list[UUID]) -> list[LetterRow]:
    rows = await connection.rows("read_letters", run_ids=run_ids)
    closed = [row for row in rows if row["state"] != DeadLetterState.OPEN]
    audited: set[str] = set()
    if closed:
        objects = {name for row in closed for name in _audited_as(row)}
        found = await connection.rows("find_audited", objects=sorted(objects))
        audited = {row["object"] for row in found}
    return [
        LetterRow(
            run_id=row["run_id"],
            step=row["step"],
            epoch=row["epoch"],
            state=row["state"],
            audited=not audited.isdisjoint(_audited_as(row)),
        )
        for row in rows
    ]


def _audited_as(row: Any) -> tuple[str, str]:
    """A dead letter is closed by its own name, or by running its whole run again."""
    return f"deadLetters/{row['dead_letter_id']}", f"runs/{row['run_id']}"


async def _deliveries(connection: Connection, runs: Iterable[RunRow]) -> list[CauseRow]:
    caused = [run for run in runs if run.cause_kind == "webhook"]
    if not caused:
        return []
    rows = await connection.rows(
        "read_delivery_causes",
        run_ids=[run.run_id for run in caused],
        delivery_ids=[_uuid(run.cause_id) for run in caused],
    )
    return [CauseRow(**row) for row in rows]


async def _ticks(connection: Connection, runs: Iterable[RunRow]) -> list[CauseRow]:
    caused = [(run, _instant(run.cause_id)) for run in runs if run.cause_kind == "schedule"]
    if not caused:
        return []
    rows = await connection.rows(
        "read_tick_causes",
        run_ids=[run.run_id for run, _ in caused],
        workflows=[run.workflow for run, _ in caused],
        ids=[run.cause_trigger for run, _ in caused],
        nominal_ats=[instant for _, instant in caused],
    )
    return [CauseRow(**row) for row in rows]


def _tick_page(schedule: Any, ticks: Sequence[TickRow], after: datetime) -> TickPage:
    trigger_id: UUID = schedule["trigger_id"]
    next_fire_at: datetime | None = schedule["next_fire_at"]
    full = len(ticks) == TICKS
    # Its next tick has not happened, so what was due ends just before that.
    until = ticks[-1].nominal_at if full else next_fire_at - _INSTANT if next_fire_at else after
    # Of what an earlier definition asked for, nothing is known.
    due = _due(schedule, ticks, max(after, schedule["updated_at"]), until)
    if len(due) == TICKS:
        full, until = True, due[-1]
        ticks = [tick for tick in ticks if tick.nominal_at <= until]
    row = ScheduleRow(
        trigger_id=trigger_id,
        name=f"{schedule['workflow']}/{schedule['id']}",
        due=due,
        overdue_for=schedule["overdue_for"],
    )
    history = History(schedules=[row], ticks=ticks)
    if full:
        last = ticks[-1:]
        after = max(until, *(_accounted_until(tick) for tick in last)) if last else until
        return TickPage(history=history, place=TickPlace(trigger_id=trigger_id, after=after))
    following = UUID(int=min(trigger_id.int + 1, _LAST_ID))
    return TickPage(history=history, place=TickPlace(trigger_id=following), finished=True)


def _due(schedule: Any, ticks: Sequence[TickRow], start: datetime, until: datetime) -> list[datetime]:
    """Up to `until`, the instants that need a row of their own; at most TICKS."""
    trigger = cron_from_json(json.loads(schedule["definition"]))
    found: list[datetime] = []
    for tick in ticks:
        if tick.outcome == TickOutcome.MISSED_WINDOW:
            found += fires_between(trigger, start, tick.nominal_at, TICKS - len(found))
            start = max(start, _accounted_until(tick))
    return found + fires_between(trigger, start, until, TICKS - len(found))


def _accounted_until(tick: TickRow) -> datetime:
    """Up to when a tick says what became of the schedule."""
    if tick.outcome != TickOutcome.MISSED_WINDOW:
        return tick.nominal_at
    return max(tick.nominal_at, tick.handled_at - CATCH_UP_WINDOW)


def _within_budget(rows: Sequence[Any]) -> list[UUID]:
    """The first runs whose events fit together, and the first one in any case."""
    taken: list[UUID] = []
    left = EVENT_BUDGET
    for row in rows:
        left -= row["seq"]
        if left < 0 and taken:
            break
        taken.append(row["run_id"])
    return taken


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
