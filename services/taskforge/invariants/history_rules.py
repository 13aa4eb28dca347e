"""Runs and steps move along the arrows of their machines, and their history tells all of it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from taskforge.domain.states import RUN_FINAL, RUN_TRANSITIONS, STEP_FINAL, STEP_TRANSITIONS, RunState, StepState
from taskforge.invariants.rows import EventRow, History, Violation, grouped, in_order

_OPEN = frozenset({StepState.QUEUED, StepState.RUNNING, StepState.RETRYING, StepState.WAITING})


def history_has_no_gaps(history: History) -> Iterator[Violation]:
    """I5: a run's events are numbered 1, 2, 3 … up to the run's own number."""
    events = grouped(history.events, lambda event: event.run_id)
    for run in history.runs:
        numbers = sorted(event.seq for event in events[run.run_id])
        if numbers != list(range(1, run.seq + 1)):
            message = f"{len(numbers)} events up to {max(numbers, default=0)}, but the run is at {run.seq}"
            yield Violation(invariant="I5", run_id=run.run_id, message=message)


def history_is_a_path(history: History) -> Iterator[Violation]:
    """I5: each change starts where the one before it ended, along an arrow of the state machine, up to the row."""
    current: dict[tuple[UUID, int | None], str] = {(run.run_id, None): run.state for run in history.runs}
    current |= {(step.run_id, step.step): step.state for step in history.steps}
    for (run_id, step), events in grouped(in_order(history.events), lambda e: (e.run_id, e.step)).items():
        state = "" if step is None else StepState.PENDING.value
        for event in events:
            if event.from_state != state or not _is_arrow(event):
                message = (
                    f"{event.from_state or 'nothing'} → {event.to_state} at {event.seq}, after {state or 'nothing'}"
                )
                yield Violation(invariant="I5", run_id=run_id, step=step, message=message)
            state = event.to_state
        row = current.pop((run_id, step), "missing")
        if row != state:
            yield Violation(invariant="I5", run_id=run_id, step=step, message=f"the row is {row}, its history {state}")
    for (run_id, step), row in current.items():
        if step is not None:
            yield Violation(invariant="I5", run_id=run_id, step=step, message=f"the row is {row}, without a history")


def final_states_are_final(history: History) -> Iterator[Violation]:
    """I6: a step ends once an epoch, and nothing follows."""
    epochs = grouped(
        (event for event in in_order(history.events) if event.step is not None),
        lambda event: (event.run_id, event.step, event.epoch),
    )
    for (run_id, step, epoch), events in epochs.items():
        ends = [place for place, event in enumerate(events) if event.to_state in STEP_FINAL]
        if len(ends) > 1 or (ends and ends[0] != len(events) - 1):
            states = [event.to_state for event in events]
            yield Violation(invariant="I6", run_id=run_id, step=step, message=f"epoch {epoch} went on: {states}")


def runs_can_move(history: History) -> Iterator[Violation]:
    """I16: a run that has not ended has a step that will move it."""
    moving = {step.run_id for step in history.steps if step.state in _OPEN}
    for run in history.runs:
        if run.state not in RUN_FINAL and run.run_id not in moving:
            message = f"{run.state}, and none of its steps will move it"
            yield Violation(invariant="I16", run_id=run.run_id, message=message)


def ended_runs_hold_nothing(history: History) -> Iterator[Violation]:
    """I25: a run that has ended has no step that could still run."""
    ended = {run.run_id for run in history.runs if run.state in RUN_FINAL}
    for step in history.steps:
        if step.run_id in ended and step.state not in STEP_FINAL:
            message = f"{step.state} in a run that has ended"
            yield Violation(invariant="I25", run_id=step.run_id, step=step.step, message=message)


def _is_arrow(event: EventRow) -> bool:
    try:
        if event.step is not None:
            return event.to_state in STEP_TRANSITIONS[StepState(event.from_state)]
        if not event.from_state:
            return event.to_state == RunState.QUEUED
        return event.to_state in RUN_TRANSITIONS[RunState(event.from_state)]
    except ValueError:  # no state at all
        return False
