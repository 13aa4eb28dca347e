"""Each instant of a schedule is handled once, and nothing happens before its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from taskforge.domain.schedule import TickOutcome
from taskforge.domain.states import RunState
from taskforge.invariants.rows import EventRow, History, ScheduleRow, Violation, grouped, in_order

_TIMED_OUT = "run_timed_out"


def ticks_are_unique(history: History) -> Iterator[Violation]:
    """I19: an instant of a schedule has one row, and a run is the firing of one instant."""
    for (trigger_id, nominal), count in Counter((t.trigger_id, t.nominal_at) for t in history.ticks).items():
        if count > 1:
            message = f"schedule {trigger_id} has {count} ticks at {_shown(nominal)}"
            yield Violation(invariant="I19", message=message)
    for run_id, count in Counter(tick.run_id for tick in history.ticks if tick.run_id).items():
        if count > 1:
            yield Violation(invariant="I19", run_id=run_id, message=f"it is the firing of {count} ticks")


def fired_ticks_have_runs(history: History) -> Iterator[Violation]:
    """I19: a tick that fired has its run, which names it; any other tick has none."""
    for tick in history.ticks:
        fired, nominal = tick.outcome == TickOutcome.FIRED, _shown(tick.nominal_at)
        if fired != (tick.run_id is not None):
            message = f"the tick at {nominal} is {tick.outcome}, with the run {tick.run_id}"
            yield Violation(invariant="I19", run_id=tick.run_id, message=message)
        elif fired and tick.run_cause is None:
            message = f"the tick at {nominal} has fired, and there is no such run"
            yield Violation(invariant="I19", run_id=tick.run_id, message=message)
        elif fired and tick.run_cause != nominal:
            message = f"the tick at {nominal} has fired it, but it was started for {tick.run_cause}"
            yield Violation(invariant="I19", run_id=tick.run_id, message=message)


def no_tick_is_missing(history: History) -> Iterator[Violation]:
    """I19: every instant at which a schedule was due has been fired, or recorded as skipped."""
    ticks = grouped(history.ticks, lambda tick: tick.trigger_id)
    for schedule in history.schedules:
        handled = {tick.nominal_at for tick in ticks[schedule.trigger_id]}
        for gap in _gaps(schedule, handled):
            span = f"at {_shown(gap[0])}" if len(gap) == 1 else f"from {_shown(gap[0])} to {_shown(gap[-1])}"
            message = f"{schedule.name}: {len(gap)} missing {'tick' if len(gap) == 1 else 'ticks'} {span}"
            yield Violation(invariant="I19", message=message)


def nothing_is_early(history: History) -> Iterator[Violation]:
    """I20: no tick is handled before its instant, and no run is stopped by its timeout before its deadline."""
    for tick in history.ticks:
        if tick.handled_at < tick.nominal_at:
            early = (tick.nominal_at - tick.handled_at).total_seconds()
            message = f"the tick at {_shown(tick.nominal_at)} was handled {early:.3f} s early"
            yield Violation(invariant="I20", run_id=tick.run_id, message=message)
    stops = _last_stops(history)
    for run in history.runs:
        stop = stops.get(run.run_id)
        if stop is None or stop.cause != _TIMED_OUT or stop.at is None or run.deadline_at is None:
            continue
        if stop.at < run.deadline_at:
            early = (run.deadline_at - stop.at).total_seconds()
            yield Violation(invariant="I20", run_id=run.run_id, message=f"its timeout stopped it {early:.3f} s early")


def _last_stops(history: History) -> dict[UUID, EventRow]:
    """What stopped each run, unless it was redriven since: that gives it a new deadline."""
    turns = {event.run_id: event for event in in_order(history.events) if event.step is None and _is_turn(event)}
    return {run_id: event for run_id, event in turns.items() if event.to_state == RunState.CANCELLING}


def _is_turn(event: EventRow) -> bool:
    return event.to_state in (RunState.CANCELLING, RunState.RUNNING)


def _gaps(schedule: ScheduleRow, handled: set[datetime]) -> Iterator[Sequence[datetime]]:
    """Instants without a tick; those that follow one another together."""
    gap: list[datetime] = []
    for instant in schedule.due:
        if instant not in handled:
            gap.append(instant)
        elif gap:
            yield gap
            gap = []
    if gap:
        yield gap


def _shown(instant: datetime) -> str:
    """An instant as runs name it in their cause."""
    return instant.isoformat().replace("+00:00", "Z")
