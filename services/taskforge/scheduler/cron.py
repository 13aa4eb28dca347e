"""Schedules: reconcile them with the triggers, fire what is due, keep a row of every tick."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric

from taskforge.domain.errors import TaskforgeError
from taskforge.domain.schedule import TickOutcome, next_fire
from taskforge.domain.workflow import Overlap
from taskforge.failpoints import Point, reach
from taskforge.language.inputs import check_inputs
from taskforge.scheduler import ticks
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.run_turn import StepRef
from taskforge.scheduler.starts import NewRun, Starter
from taskforge.scheduler.sweeps import Hints
from taskforge.scheduler.ticks import Due, Tick
from taskforge.store import runs as run_store
from taskforge.store.pool import Connection, Database
from taskforge.store.trigger_json import cron_from_json

FILE = "schedules"
LIMIT = 500  #: schedules that one transaction fires
SIDE_BY_SIDE = 2  #: such transactions while much is due
LOOK_SECONDS = 1.0  #: between two looks for changed triggers, while much is due
FOLLOW_LIMIT = 2_000  #: schedules that one transaction makes or changes

T = TypeVar("T")
_Change = tuple[datetime | None, int]
_TICKS = Metric("taskforge_ticks", "Ticks of schedules by what became of them.", ["outcome"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upsert:
    """A schedule that has to follow its trigger."""

    row: Mapping[str, Any]
    next_fire_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any], now: datetime) -> _Upsert:
        trigger = cron_from_json(json.loads(row["definition"]))
        return cls(row=row, next_fire_at=next_fire(trigger, now))


class Cron:
    """Fires schedules. Any number of schedulers may: the ticks' key lets each tick happen once."""

    def __init__(self, database: Database, definitions: Definitions, starter: Starter, hints: Hints) -> None:
        self._database = database
        self._definitions = definitions
        self._starter = starter
        self._hints = hints
        self._seen: _Change | None = None  #: the newest change of a trigger that all schedules follow
        self._following: _Change | None = None
        self._unreadable: set[UUID] = set()

    async def tick(self) -> int:
        """Follow changed definitions, and fire what is due. Returns how many schedules were due."""
        fired = 0
        follows, looked_at = False, 0.0
        while True:
            # To look costs the more the more triggers there are, and firing them all takes many transactions.
            if not follows or time.monotonic() - looked_at > LOOK_SECONDS:
                follows, looked_at = await self.reconcile(), time.monotonic()
            count = await self._fire_much()
            fired += count
            if follows and count < LIMIT:
                return fired

    async def _fire_much(self) -> int:
        """Fire what is due, much of it while the database is busy with more. Less than LIMIT: that was all."""
        count = await self.fire_due()
        if count < LIMIT:
            return count
        counts = await asyncio.gather(*(self.fire_due() for _ in range(SIDE_BY_SIDE)), return_exceptions=True)
        for result in counts:
            if isinstance(result, BaseException):
                raise result
            count += result
        return count

    async def look(self) -> float | None:
        """How long until `tick` has something to do; nothing or less: it has; None: there is no schedule."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("look", without=self._left_out)
        if row is None or _change(row) != self._seen:
            return 0.0
        seconds: float | None = row["fire_in"]
        return seconds

    async def reconcile(self) -> bool:
        """Make at most FOLLOW_LIMIT schedules follow their triggers, if these have changed. True: all do now."""
        async with self._database.connection(FILE) as connection:
            row = await connection.row("newest_trigger_change")
        newest = _change(row) if row else (None, 0)
        if newest == self._seen:
            return True
        async with self._database.transaction(FILE) as connection:
            if newest != self._following:
                await connection.run("delete_removed_schedules")
                self._unreadable = set()
            changed = await connection.rows("find_changed_schedules", without=self._left_out, limit=FOLLOW_LIMIT)
            now: datetime = await connection.value("database_now")
            upserts = [upsert for row in changed if (upsert := self._read(_Upsert.of, row, now)) is not None]
            if upserts:
                await _upsert(connection, upserts)
        self._following = newest
        if len(changed) < FOLLOW_LIMIT:
            self._seen = newest
        return newest == self._seen

    async def fire_due(self) -> int:
        """Handle ticks of at most LIMIT due schedules in one transaction. Returns of how many."""
        hints: Sequence[StepRef] = ()
        async with self._database.transaction(FILE) as connection:
            rows = await connection.rows("lock_due_schedules", without=self._left_out, limit=LIMIT)
            if not rows:
                return 0
            await reach(Point.DUE_SELECTED)
            due = await self._readable(connection, rows)
            await self._skip_overlaps(connection, due)
            fired = await _insert_ticks(connection, due)
            hints = await self._start(connection, due, fired)
            await _update_schedules(connection, due, fired)
        await reach(Point.FIRING_COMMITTED)
        self._hints.publish(hints)
        return len(due)

    @property
    def _left_out(self) -> list[UUID]:
        return list(self._unreadable)

    async def _readable(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Due]:
        """The ticks of those schedules that this version understands."""
        limit = ticks.AT_ONCE // len(rows)
        due = [found for row in rows if (found := self._read(ticks.due, row, limit)) is not None]
        await self._definitions.load_all(connection.using(run_store.FILE), [item.row["revision_id"] for item in due])
        readable = [item for item in due if self._definitions.cached(item.row["revision_id"]) is not None]
        self._unreadable |= {item.row["trigger_id"] for item in due} - {item.row["trigger_id"] for item in readable}
        return readable

    def _read(self, read: Callable[..., T], row: Mapping[str, Any], *more: Any) -> T | None:
        """One that cannot be read waits, and loses nothing, until a definition changes or a scheduler starts anew."""
        try:
            return read(row, *more)
        except Exception:
            log.exception("schedule_unreadable", workflow=row["workflow"], schedule=row["id"])
            self._unreadable.add(row["trigger_id"])
            return None

    async def _skip_overlaps(self, connection: Connection, due: Sequence[Due]) -> None:
        last = [d.row["last_run_id"] for d in due if d.trigger.overlap is Overlap.SKIP and d.row["last_run_id"]]
        active = (
            {row["run_id"] for row in await connection.rows("find_active_runs", **run_store.of_runs(last))}
            if last
            else set()
        )
        for item in due:
            if item.trigger.overlap is Overlap.SKIP and item.row["last_run_id"] in active:
                for tick in item.ticks:
                    if tick.outcome is TickOutcome.FIRED:
                        tick.outcome, tick.run_id = TickOutcome.SKIPPED_OVERLAP, None

    async def _start(self, connection: Connection, due: Sequence[Due], fired: Mapping[UUID, Tick]) -> Sequence[StepRef]:
        starts = [self._new_run(item, fired[item.row["trigger_id"]]) for item in due if item.row["trigger_id"] in fired]
        if not starts:
            return ()
        results, hints = await self._starter.start_within(connection.using(run_store.FILE), starts)
        for result in results:
            if isinstance(result, TaskforgeError):
                raise result
        return hints

    def _new_run(self, item: Due, tick: Tick) -> NewRun:
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

    def _inputs(self, item: Due) -> Mapping[str, Any]:
        """The trigger's constant inputs with the workflow's defaults; they were checked when it was applied."""
        workflow = self._definitions.cached(item.row["revision_id"])
        return check_inputs(workflow, item.trigger.inputs).values if workflow is not None else item.trigger.inputs


def _change(row: Mapping[str, Any]) -> _Change:
    return row["changed_at"], row["triggers"]


async def _insert_ticks(connection: Connection, due: Sequence[Due]) -> dict[UUID, Tick]:
    """Write the ticks; returns those that are ours to fire, by schedule."""
    all_ticks = [tick for item in due for tick in item.ticks]
    rows = await connection.rows(
        "insert_ticks",
        trigger_ids=[tick.trigger_id for tick in all_ticks],
        nominal_ats=[tick.nominal_at for tick in all_ticks],
        outcomes=[tick.outcome for tick in all_ticks],
        run_ids=[tick.run_id for tick in all_ticks],
    )
    written = {(row["trigger_id"], row["nominal_at"]) for row in rows}
    ours = [tick for tick in all_ticks if (tick.trigger_id, tick.nominal_at) in written]
    for outcome, count in Counter(tick.outcome for tick in ours).items():
        _TICKS.labels(outcome.lower()).inc(count)
    return {tick.trigger_id: tick for tick in ours if tick.outcome is TickOutcome.FIRED}


async def _update_schedules(connection: Connection, due: Sequence[Due], fired: Mapping[UUID, Tick]) -> None:
    runs = [fired[item.row["trigger_id"]].run_id if item.row["trigger_id"] in fired else None for item in due]
    await connection.run(
        "update_schedules",
        trigger_ids=[item.row["trigger_id"] for item in due],
        next_fire_ats=[item.next_fire_at for item in due],
        last_run_ids=runs,
    )


async def _upsert(connection: Connection, upserts: Sequence[_Upsert]) -> None:
    await connection.run(
        "upsert_schedules",
        trigger_ids=[upsert.row["trigger_id"] for upsert in upserts],
        workflows=[upsert.row["workflow"] for upsert in upserts],
        ids=[upsert.row["id"] for upsert in upserts],
        revision_ids=[upsert.row["revision_id"] for upsert in upserts],
        definitions=[upsert.row["definition"] for upsert in upserts],
        next_fire_ats=[upsert.next_fire_at for upsert in upserts],
    )
