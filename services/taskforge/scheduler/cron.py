"""Schedules: reconcile them with the triggers, fire what is due, keep a row of every tick."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter

from taskforge.domain.errors import TaskforgeError
from taskforge.domain.schedule import fires_between, next_fire
from taskforge.domain.workflow import CronTrigger, Overlap
from taskforge.language.inputs import check_inputs
from taskforge.runtime.ids import new_id
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.run_turn import StepRef
from taskforge.scheduler.starts import NewRun, Starter
from taskforge.scheduler.sweeps import Hints
from taskforge.store import runs as run_store
from taskforge.store.pool import Connection, Database
from taskforge.store.trigger_json import cron_from_json

FILE = "schedules"
LIMIT = 500
CATCHUP_WINDOW = timedelta(hours=24)
#: Ticks looked at after a downtime; an older one of a fast schedule is not worth a row of its own.
MAX_MISSED = 1_000

_TICKS = Counter("taskforge_ticks", "Ticks of schedules by what became of them.", ["outcome"])

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Tick:
    trigger_id: UUID
    nominal_at: datetime
    outcome: str
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A schedule that is due, with its ticks up to now."""

    row: Mapping[str, Any]
    trigger: CronTrigger
    ticks: list[_Tick]


class Cron:
    """Fires schedules. Any number of schedulers may: the ticks' key lets each tick happen once."""

    def __init__(self, database: Database, definitions: Definitions, starter: Starter, hints: Hints) -> None:
        self._database = database
        self._definitions = definitions
        self._starter = starter
        self._hints = hints
        self._seen: tuple[datetime | None, int] | None = None

    async def tick(self) -> int:
        """Follow changed definitions, then fire what is due. Returns how many schedules were due."""
        await self.reconcile()
        fired = 0
        while (count := await self.fire_due()) == LIMIT:
            fired += count
        return fired + count

    async def seconds_to_next_fire(self) -> float | None:
        """How long until the next tick; negative: overdue; None: there is no schedule."""
        async with self._database.connection(FILE) as connection:
            seconds: float | None = await connection.value("seconds_to_next_fire")
            return seconds

    async def reconcile(self) -> None:
        """Make the schedules follow the triggers, if these have changed since the last look."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("newest_trigger_change")
        newest = (row["max"], row["count"]) if row else (None, 0)
        if newest == self._seen:
            return
        async with self._database.transaction(FILE) as connection:
            await connection.run("delete_removed_schedules")
            changed = await connection.rows("find_changed_schedules", limit=LIMIT)
            if changed:
                now: datetime = await connection.value("database_now")
                await _upsert(connection, changed, now)
        if len(changed) < LIMIT:
            self._seen = newest

    async def fire_due(self) -> int:
        """Handle the ticks of at most LIMIT due schedules in one transaction. Returns how many were due."""
        hints: Sequence[StepRef] = ()
        async with self._database.transaction(FILE) as connection:
            rows = await connection.rows("lock_due_schedules", limit=LIMIT)
            if not rows:
                return 0
            due = [_due(row) for row in rows]
            await self._skip_overlaps(connection, due)
            fired = await _insert_ticks(connection, due)
            hints = await self._start(connection, due, fired)
            await _update_schedules(connection, due, fired)
        self._hints.publish(hints)
        return len(rows)

    async def _skip_overlaps(self, connection: Connection, due: Sequence[_Due]) -> None:
        last = [d.row["last_run_id"] for d in due if d.trigger.overlap is Overlap.SKIP and d.row["last_run_id"]]
        active = {row["run_id"] for row in await connection.rows("find_active_runs", run_ids=last)} if last else set()
        for item in due:
            if item.trigger.overlap is Overlap.SKIP and item.row["last_run_id"] in active:
                for tick in item.ticks:
                    if tick.outcome == "FIRED":
                        tick.outcome, tick.run_id = "SKIPPED_OVERLAP", None

    async def _start(
        self, connection: Connection, due: Sequence[_Due], fired: Mapping[UUID, _Tick]
    ) -> Sequence[StepRef]:
        await self._definitions.load_all(connection.using(run_store.FILE), [item.row["revision_id"] for item in due])
        starts = [self._new_run(item, fired[item.row["trigger_id"]]) for item in due if item.row["trigger_id"] in fired]
        if not starts:
            return ()
        results, hints = await self._starter.start_within(connection.using(run_store.FILE), starts)
        for result in results:
            if isinstance(result, TaskforgeError):
                raise result
        return hints

    def _new_run(self, item: _Due, tick: _Tick) -> NewRun:
        nominal = tick.nominal_at.isoformat().replace("+00:00", "Z")
        assert tick.run_id is not None  # noqa: S101 -- only fired ticks get here
        return NewRun(
            run_id=tick.run_id,
            revision_id=item.row["revision_id"],
            inputs=json.dumps(self._inputs(item)),
            trigger=json.dumps({"type": "schedule", "id": item.trigger.id, "nominal_at": nominal}),
            cause_kind="schedule",
            cause_trigger=item.trigger.id,
            cause_id=nominal,
        )

    def _inputs(self, item: _Due) -> Mapping[str, Any]:
        """The trigger's constant inputs with the workflow's defaults; they were checked when it was applied."""
        workflow = self._definitions.cached(item.row["revision_id"])
        return check_inputs(workflow, item.trigger.inputs).values if workflow is not None else item.trigger.inputs


def _due(row: Mapping[str, Any]) -> _Due:
    """Decide on the ticks of one schedule: the last one fires, those before it were missed while we were down."""
    trigger = cron_from_json(json.loads(row["definition"]))
    now: datetime = row["now"]
    first: datetime = row["next_fire_at"]
    nominal = [first, *fires_between(trigger, first, now, MAX_MISSED)]
    if len(nominal) > MAX_MISSED:
        # More were missed than are worth a row each: leap to the present.
        nominal = [first, *fires_between(trigger, now - CATCHUP_WINDOW, now, MAX_MISSED)]
    oldest = now - CATCHUP_WINDOW
    ticks = [
        _Tick(
            trigger_id=row["trigger_id"],
            nominal_at=moment,
            outcome="MISSED_WINDOW" if moment < oldest else "COALESCED",
        )
        for moment in nominal
    ]
    if ticks[-1].outcome == "COALESCED":
        ticks[-1].outcome, ticks[-1].run_id = "FIRED", new_id()
    return _Due(row=row, trigger=trigger, ticks=ticks)


async def _insert_ticks(connection: Connection, due: Sequence[_Due]) -> dict[UUID, _Tick]:
    """Write the ticks; returns those that are ours to fire, by schedule."""
    ticks = [tick for item in due for tick in item.ticks]
    rows = await connection.rows(
        "insert_ticks",
        trigger_ids=[tick.trigger_id for tick in ticks],
        nominal_ats=[tick.nominal_at for tick in ticks],
        outcomes=[tick.outcome for tick in ticks],
        run_ids=[tick.run_id for tick in ticks],
    )
    written = {(row["trigger_id"], row["nominal_at"]) for row in rows}
    ours = [tick for tick in ticks if (tick.trigger_id, tick.nominal_at) in written]
    for tick in ours:
        _TICKS.labels(tick.outcome.lower()).inc()
    return {tick.trigger_id: tick for tick in ours if tick.outcome == "FIRED"}


async def _update_schedules(connection: Connection, due: Sequence[_Due], fired: Mapping[UUID, _Tick]) -> None:
    runs = [fired[item.row["trigger_id"]].run_id if item.row["trigger_id"] in fired else None for item in due]
    await connection.run(
        "update_schedules",
        trigger_ids=[item.row["trigger_id"] for item in due],
        next_fire_ats=[next_fire(item.trigger, item.row["now"]) for item in due],
        last_run_ids=runs,
    )


async def _upsert(connection: Connection, changed: Sequence[Mapping[str, Any]], now: datetime) -> None:
    triggers = [cron_from_json(json.loads(row["definition"])) for row in changed]
    await connection.run(
        "upsert_schedules",
        trigger_ids=[row["trigger_id"] for row in changed],
        workflows=[row["workflow"] for row in changed],
        ids=[row["id"] for row in changed],
        revision_ids=[row["revision_id"] for row in changed],
        definitions=[row["definition"] for row in changed],
        next_fire_ats=[next_fire(trigger, now) for trigger in triggers],
    )
