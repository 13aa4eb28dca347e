"""A step has one holder at a time, and one result: tokens, attempts, leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

from taskforge.domain.states import RunState, StepState
from taskforge.invariants.rows import AttemptRow, EventRow, History, Violation, grouped, in_order

_CLAIMABLE = frozenset({RunState.QUEUED, RunState.RUNNING})


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


def results_have_their_hash(history: History) -> Iterator[Violation]:
    """I7: a result that was accepted under a lease has left its hash, by which a repetition is known."""
    under_lease = {
        (event.run_id, event.step, event.epoch)
        for event in history.events
        if _succeeded(event) and event.from_state == StepState.RUNNING
    }
    for step in history.steps:
        accepted = step.state == StepState.SUCCEEDED and (step.run_id, step.step, step.epoch) in under_lease
        if accepted and not step.result_hash:
            message = "its result was accepted, but the row has no hash of it"
            yield Violation(invariant="I7", run_id=step.run_id, step=step.step, message=message)


def tokens_grow(history: History) -> Iterator[Violation]:
    """I8: each attempt of a step has a greater token than the one before it, and none is reused in its history."""
    for (run_id, step), attempts in grouped(history.attempts, lambda a: (a.run_id, a.step)).items():
        tokens = [attempt.lease_token for attempt in sorted(attempts, key=_place)]
        if not all(before < after for before, after in pairwise(tokens)):
            yield Violation(invariant="I8", run_id=run_id, step=step, message=f"attempts had the tokens {tokens}")
    for (run_id, step_index), events in grouped(in_order(_claims(history)), lambda e: (e.run_id, e.step)).items():
        tokens = [event.lease_token for event in events]
        if not all(before < after for before, after in pairwise(tokens)):
            yield Violation(invariant="I8", run_id=run_id, step=step_index, message=f"leases had the tokens {tokens}")


def leases_do_not_overlap(history: History) -> Iterator[Violation]:
    """I8: an attempt starts after the one before it has ended, on the database's clock."""
    steady = _steady(history)
    held = {(step.run_id, step.step): step for step in history.steps if step.state == StepState.RUNNING}
    for (run_id, step), attempts in grouped(history.attempts, lambda a: (a.run_id, a.step)).items():
        ordered = sorted(attempts, key=_place)
        starts = [attempt.started_at for attempt in ordered[1:]]
        holder = held.get((run_id, step))
        starts.append(holder.started_at if holder else None)
        for attempt, start in zip(ordered, starts, strict=True):
            if run_id in steady and start and attempt.ended_at and start < attempt.ended_at:
                seconds = (attempt.ended_at - start).total_seconds()
                message = f"the next attempt started {seconds:.3f} s before attempt {attempt.attempt} ended"
                yield Violation(invariant="I8", run_id=run_id, step=step, message=message)


def attempts_have_no_gaps(history: History) -> Iterator[Violation]:
    """I17: the attempts of an epoch are numbered from 1."""
    for (run_id, step, epoch), attempts in grouped(history.attempts, lambda a: (a.run_id, a.step, a.epoch)).items():
        numbers = sorted(attempt.attempt for attempt in attempts)
        if numbers != list(range(1, len(numbers) + 1)):
            yield Violation(invariant="I17", run_id=run_id, step=step, message=f"epoch {epoch} has attempts {numbers}")


def nothing_is_claimed_after_a_stop(history: History) -> Iterator[Violation]:
    """I21: once a run is CANCELLING or has ended, no step of it is claimed."""
    for run_id, events in grouped(in_order(history.events), lambda event: event.run_id).items():
        state = RunState.QUEUED.value
        for event in events:
            if event.step is None:
                state = event.to_state
            elif event.to_state == StepState.RUNNING and state not in _CLAIMABLE:
                message = f"claimed at {event.seq}, while the run was {state}"
                yield Violation(invariant="I21", run_id=run_id, step=event.step, message=message)


def _claims(history: History) -> Iterator[EventRow]:
    return (event for event in history.events if event.to_state == StepState.RUNNING and event.step is not None)


def _steady(history: History) -> set[UUID]:
    """Runs during which the database's clock never went back: only their times can be compared."""
    times = grouped((event for event in in_order(history.events) if event.at), lambda event: event.run_id)
    return {
        run_id
        for run_id, events in times.items()
        if all(a.at <= b.at for a, b in pairwise(events) if a.at is not None and b.at is not None)
    }


def _place(attempt: AttemptRow) -> tuple[int, int]:
    return attempt.epoch, attempt.attempt


def _succeeded(event: EventRow) -> bool:
    return event.to_state == StepState.SUCCEEDED
