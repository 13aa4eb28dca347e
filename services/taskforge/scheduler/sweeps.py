"""Level-triggered repairs, every second: whatever a crash left behind is found here, never only at start-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from taskforge.domain.errors import Unavailable
from taskforge.domain.run import CancelRequested, Event, LeaseExpired, RetryDue
from taskforge.domain.states import StepState
from taskforge.failpoints import Point, reach
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.run_turn import (
    RUN_TIMED_OUT,
    RunTurn,
    StepRef,
    load_turns,
    queued_refs,
    save_turns,
    without_waiting_long,
)
from taskforge.store import runs as store
from taskforge.store.pool import Database
from taskforge.store.run_writes import WriteConflict
from taskforge.store.runs import Patience

LIMIT = 500
REHINT_AGE = timedelta(seconds=2)

_EXPIRED = Counter("taskforge_leases_expired", "Leases that ran out.")
_REHINTED = Counter("taskforge_steps_rehinted", "QUEUED steps whose hint was sent again.")
_QUEUED = Gauge("taskforge_steps_queued", "Steps that wait for an executor, up to the limit of the queue.")

log = structlog.get_logger()


class Hints(Protocol):
    """Where QUEUED steps are made known; losing a hint costs time, nothing else."""

    def publish(self, refs: Sequence[StepRef]) -> None:
        """Make steps known, without waiting and without failing."""

    async def backlog(self) -> int | None:
        """How many hints nobody has read yet; None if that cannot be said."""

    async def trim(self) -> None:
        """Forget hints that are too old to matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look at the database found."""

    queued: int  #: steps that wait for an executor
    unheard: bool  #: some of them for so long that their hint may be lost
    expired: bool  #: there are leases that ran out
    overdue: bool  #: there are runs whose timeout has passed
    retry_in: float | None  #: seconds until a RETRYING step is due; negative: overdue; None: there is none


class Sweeper:
    """The sweeps. Each is one pass over at most LIMIT rows, and each row is looked at again under its run's lock."""

    def __init__(
        self, database: Database, definitions: Definitions, hints: Hints, *, lease: timedelta, max_crashes: int
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._hints = hints
        self._lease = lease
        self._max_crashes = max_crashes

    async def look(self, limit: int) -> Found:
        """What there is to do. No more than `limit` steps that wait are counted."""
        async with self._database.connection(store.FILE) as connection:
            row = await connection.row("look", limit=limit, age=REHINT_AGE)
        found = Found(**dict(row or {}))
        _QUEUED.set(found.queued)
        return found

    async def expire_leases(self) -> int:
        """Take steps back from executors that were lost. Returns how many."""

        def event(turn: RunTurn, step: int) -> Event | None:
            row = turn.step_row(step)
            if row is None or row.view.state is not StepState.RUNNING or row.lease_alive:
                return None
            log.warning("lease_expired", run=str(turn.row.run_id), step=step, executor=str(row.executor_id))
            return LeaseExpired(step=step, max_crashes=self._max_crashes)

        count = await self._sweep_steps("find_expired", event)
        _EXPIRED.inc(count)
        return count

    async def queue_due_retries(self) -> int:
        """Queue RETRYING steps whose delay is over. Returns how many."""

        def event(turn: RunTurn, step: int) -> Event | None:
            row = turn.step_row(step)
            # It may have run and failed once more since it was found: then its next delay is not over yet.
            return RetryDue(step=step) if row is not None and row.is_due else None

        count = await self._sweep_steps("find_due", event)
        if count:
            await reach(Point.TIMER_PROMOTED)
        return count

    async def seconds_to_next_retry(self) -> float | None:
        """How long until the next RETRYING step is due; negative: overdue; None: there is none."""
        async with self._database.connection(store.FILE) as connection:
            seconds: float | None = await connection.value("seconds_to_next_due")
            return seconds

    async def stop_overdue_runs(self) -> int:
        """Stop runs whose timeout has passed. Returns how many."""
        async with self._database.connection(store.FILE) as connection:
            rows = await connection.rows("find_overdue_runs", limit=LIMIT)

        def event(turn: RunTurn, _step: int) -> Event | None:
            # It may have been stopped and retried since it was found: then it has a new deadline.
            return CancelRequested(reason="run_timed_out", error=RUN_TIMED_OUT) if turn.row.is_overdue else None

        return await self._apply([(row["run_id"], 0) for row in rows], event)

    async def rehint(self) -> int:
        """Make known again what has been QUEUED for long, unless executors have not read all that was made known.

        What waits may only be waiting for its turn then, and a second hint costs whoever follows it a look at the run
        for nothing. Until there is nothing left to read, a lost hint is made good by the executors' own polls.
        """
        await self._hints.trim()
        if await self._hints.backlog():
            return 0
        async with self._database.connection(store.FILE) as connection:
            rows = await connection.rows("find_queued_since", age=REHINT_AGE, limit=LIMIT)
        self._hints.publish([(row["run_id"], row["step"]) for row in rows])
        _REHINTED.inc(len(rows))
        return len(rows)

    async def _sweep_steps(self, query: str, event: Callable[[RunTurn, int], Event | None]) -> int:
        async with self._database.connection(store.FILE) as connection:
            rows = await connection.rows(query, limit=LIMIT)
        if rows:
            await reach(Point.DUE_SELECTED)
        return await self._apply([(row["run_id"], row["step"]) for row in rows], event)

    async def _apply(self, refs: Sequence[StepRef], event: Callable[[RunTurn, int], Event | None]) -> int:
        """Apply an event to each row in one transaction; if that fails, each run alone, so that one cannot stop all."""
        if not refs:
            return 0
        try:
            return await self._apply_together(refs, event)
        except WriteConflict:
            return 0  # a lease was renewed or a result came in between: the next sweep looks again
        except Unavailable:
            raise
        except Exception:
            log.exception("sweep_batch_failed")
        done = 0
        for run_id in {run_id for run_id, _ in refs}:
            done += await self._apply_alone(run_id, refs, event)
        return done

    async def _apply_alone(
        self, run_id: UUID, refs: Sequence[StepRef], event: Callable[[RunTurn, int], Event | None]
    ) -> int:
        try:
            return await self._apply_together([ref for ref in refs if ref[0] == run_id], event)
        except Unavailable:
            raise
        except Exception:
            log.exception("sweep_of_run_failed", run=str(run_id))
            return 0

    async def _apply_together(self, refs: Sequence[StepRef], event: Callable[[RunTurn, int], Event | None]) -> int:
        """What another scheduler holds for long is left to the next sweep."""
        return await without_waiting_long(lambda patience: self._apply_to_some(refs, event, patience))

    async def _apply_to_some(
        self, refs: Sequence[StepRef], event: Callable[[RunTurn, int], Event | None], patience: Patience
    ) -> int:
        done = 0
        async with self._database.transaction(store.FILE) as connection:
            run_ids = {run_id for run_id, _ in refs}
            turns = await load_turns(connection, self._definitions, run_ids, patience=patience)
            for run_id, step in refs:
                turn = turns.get(run_id)
                happened = event(turn, step) if turn is not None else None
                if turn is not None and happened is not None and turn.take(happened) is None:
                    done += 1
                await reach(Point.MID_SWEEP)
            await save_turns(connection, turns.values(), lease=self._lease)
        self._hints.publish(queued_refs(turns.values()))
        return done
