"""What must hold whatever was killed. Pure functions from rows to violations; the ids are those of the design's list.

These look at the database alone and hold at any moment, except `rests`, which wants a system that has come to rest.
What needs the outside's side of the story is in `outside.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from uuid import UUID

from taskforge.domain.states import RUN_FINAL, RUN_TRANSITIONS, STEP_FINAL, STEP_TRANSITIONS, RunState, StepState
from tests.chaos.outside import OUTSIDE_RULES
from tests.chaos.rows import AttemptRow, EventRow, History, Outside, Violation, grouped

_OPEN = frozenset({StepState.QUEUED, StepState.RUNNING, StepState.RETRYING, StepState.WAITING})


def check(history: History, outside: Outside | None = None) -> list[Violation]:
    """Every violation, of what the database says and, if given, of what was seen from outside."""
    found = [violation for rule in DATABASE_RULES for violation in rule(history)]
    if outside is not None:
        found += [violation for rule in OUTSIDE_RULES for violation in rule(history, outside)]
    return found


def history_has_no_gaps(history: History) -> Iterator[Violation]:
    """I5: a run's events are numbered 1, 2, 3 … up to the run's own number."""
    events = grouped(history.events, lambda event: event.run_id)
    for run in history.runs:
        numbers = sorted(event.seq for event in events[run.run_id])
        if numbers != list(range(1, run.seq + 1)):
            yield Violation(invariant="I5", run_id=run.run_id, message=f"events {numbers}, but the run is at {run.seq}")


def history_is_a_path(history: History) -> Iterator[Violation]:
    """I5: each change starts where the one before it ended, along an arrow of the state machine, up to the row."""
    current: dict[tuple[UUID, int | None], str] = {(run.run_id, None): run.state for run in history.runs}
    current |= {(step.run_id, step.step): step.state for step in history.steps}
    for (run_id, step), events in grouped(_in_order(history.events), lambda e: (e.run_id, e.step)).items():
        state = "" if step is None else StepState.PENDING.value
        for event in events:
            if event.from_state != state or not _is_arrow(event):
                message = (
                    f"{event.from_state or 'nothing'} → {event.to_state} at {event.seq}, after {state or 'nothing'}"
                )
                yield Violation(invariant="I5", run_id=run_id, step=step, message=message)
            state = event.to_state
        row = current.get((run_id, step), "missing")
        if row != state:
            yield Violation(invariant="I5", run_id=run_id, step=step, message=f"the row is {row}, its history {state}")


def final_states_are_final(history: History) -> Iterator[Violation]:
    """I6: a step ends once an epoch, and nothing follows."""
    epochs = grouped(
        (event for event in _in_order(history.events) if event.step is not None),
        lambda event: (event.run_id, event.step, event.epoch),
    )
    for (run_id, step, epoch), events in epochs.items():
        ends = [place for place, event in enumerate(events) if event.to_state in STEP_FINAL]
        if len(ends) > 1 or (ends and ends[0] != len(events) - 1):
            states = [event.to_state for event in events]
            yield Violation(invariant="I6", run_id=run_id, step=step, message=f"epoch {epoch} went on: {states}")


def results_are_accepted_once(history: History) -> Iterator[Violation]:
    """I7: exactly one attempt of a step that succeeded did so, in one event, under the newest token."""
    won = grouped((a for a in history.attempts if a.outcome == "SUCCEEDED"), lambda a: (a.run_id, a.step, a.epoch))
    told = Counter((e.run_id, e.step, e.epoch) for e in history.events if e.step is not None and _succeeded(e))
    for step in history.steps:
        key = (step.run_id, step.step, step.epoch)
        winners, expected = won[key], int(step.state == StepState.SUCCEEDED)
        if len(winners) != expected or told[key] != expected:
            message = f"{step.state} with {len(winners)} accepted attempts and {told[key]} events"
            yield Violation(invariant="I7", run_id=step.run_id, step=step.step, message=message)
        elif winners and winners[0].lease_token != step.lease_token:
            message = f"won with token {winners[0].lease_token}, the newest is {step.lease_token}"
            yield Violation(invariant="I7", run_id=step.run_id, step=step.step, message=message)


def tokens_grow(history: History) -> Iterator[Violation]:
    """I8: each attempt of a step has a greater token than the one before it, and none is reused in its history."""
    for (run_id, step), attempts in grouped(history.attempts, lambda a: (a.run_id, a.step)).items():
        tokens = [attempt.lease_token for attempt in sorted(attempts, key=_place)]
        if not all(before < after for before, after in pairwise(tokens)):
            yield Violation(invariant="I8", run_id=run_id, step=step, message=f"attempts had the tokens {tokens}")
    leases = [
        event for event in _in_order(history.events) if event.to_state == StepState.RUNNING and event.step is not None
    ]
    for (run_id, step_index), events in grouped(leases, lambda e: (e.run_id, e.step)).items():
        tokens = [event.lease_token for event in events]
        if not all(before < after for before, after in pairwise(tokens)):
            yield Violation(invariant="I8", run_id=run_id, step=step_index, message=f"leases had the tokens {tokens}")


def attempts_have_no_gaps(history: History) -> Iterator[Violation]:
    """I17: the attempts of an epoch are numbered from 1."""
    for (run_id, step, epoch), attempts in grouped(history.attempts, lambda a: (a.run_id, a.step, a.epoch)).items():
        numbers = sorted(attempt.attempt for attempt in attempts)
        if numbers != list(range(1, len(numbers) + 1)):
            yield Violation(invariant="I17", run_id=run_id, step=step, message=f"epoch {epoch} has attempts {numbers}")


def letters_match_steps(history: History) -> Iterator[Violation]:
    """I18: an epoch of a step has one dead letter at most, and an open one belongs to a step that is FAILED."""
    states = {(step.run_id, step.step, step.epoch): step.state for step in history.steps}
    counts = Counter((letter.run_id, letter.step, letter.epoch) for letter in history.letters)
    for (run_id, step, epoch), count in counts.items():
        if count > 1:
            yield Violation(invariant="I18", run_id=run_id, step=step, message=f"{count} dead letters in epoch {epoch}")
    for letter in history.letters:
        state = states.get((letter.run_id, letter.step, letter.epoch))
        if letter.state == "OPEN" and state != StepState.FAILED:
            message = f"an open dead letter in epoch {letter.epoch}, where the step is {state}"
            yield Violation(invariant="I18", run_id=letter.run_id, step=letter.step, message=message)


def ended_runs_hold_nothing(history: History) -> Iterator[Violation]:
    """I25: a run that has ended has no step that could still run."""
    ended = {run.run_id for run in history.runs if run.state in RUN_FINAL}
    for step in history.steps:
        if step.run_id in ended and step.state not in STEP_FINAL:
            yield Violation(
                invariant="I25", run_id=step.run_id, step=step.step, message=f"{step.state} in a run that has ended"
            )


def rests(history: History, *, grace: float) -> Iterator[Violation]:
    """I16: nothing waits for longer than `grace` seconds for something that should have happened."""
    for step in history.steps:
        waits = {"queued": step.queued_for, "expired": step.expired_for, "overdue": step.overdue_for}
        for what, seconds in waits.items():
            if seconds is not None and seconds > grace:
                message = f"{what} for {seconds:.1f} s"
                yield Violation(invariant="I16", run_id=step.run_id, step=step.step, message=message)
    moving = {step.run_id for step in history.steps if step.state in _OPEN}
    for run in history.runs:
        if run.state not in RUN_FINAL and run.run_id not in moving:
            yield Violation(
                invariant="I16", run_id=run.run_id, message=f"{run.state}, and none of its steps will move it"
            )


Rule = Callable[[History], Iterable[Violation]]
DATABASE_RULES: tuple[Rule, ...] = (
    history_has_no_gaps,
    history_is_a_path,
    final_states_are_final,
    results_are_accepted_once,
    tokens_grow,
    attempts_have_no_gaps,
    letters_match_steps,
    ended_runs_hold_nothing,
)


def _in_order(events: Iterable[EventRow]) -> list[EventRow]:
    return sorted(events, key=lambda event: event.seq)


def _place(attempt: AttemptRow) -> tuple[int, int]:
    return attempt.epoch, attempt.attempt


def _succeeded(event: EventRow) -> bool:
    return event.to_state == StepState.SUCCEEDED


def _is_arrow(event: EventRow) -> bool:
    if event.step is not None:
        return event.to_state in STEP_TRANSITIONS[StepState(event.from_state)]
    if not event.from_state:
        return event.to_state == RunState.QUEUED
    return event.to_state in RUN_TRANSITIONS[RunState(event.from_state)]
