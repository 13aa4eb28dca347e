"""A run follows the definition that it is pinned to: its steps, their order, their retries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from taskforge.domain.retry import backoff_delay
from taskforge.domain.states import RUN_FINAL, STEP_FINAL, StepState
from taskforge.domain.workflow import Jitter, RetryPolicy, Workflow
from taskforge.invariants.rows import AttemptRow, EventRow, History, Violation, grouped, in_order, workflow_of

_FAILURES = frozenset({"FAILED", "TIMED_OUT"})
#: States from which a step sets out: anything but waiting, or being stopped before it could, needs its needs.
_NOT_BEGUN = frozenset({StepState.PENDING, StepState.FAILED, StepState.CANCELLED})
_NOT_A_BEGINNING = frozenset({StepState.PENDING, StepState.CANCELLED})
#: Times are kept in microseconds, delays are computed in floating point.
_ROUNDING = timedelta(milliseconds=1)


def needs_come_first(history: History) -> Iterator[Violation]:
    """I14: a step sets out only after every step that it needs has ended."""
    events = grouped(in_order(history.events), lambda event: event.run_id)
    for run_id, workflow in _known(history):
        ended: set[int] = set()
        for event in events[run_id]:
            if event.step is None or event.step >= len(workflow.steps):
                continue
            missing = sorted(set(workflow.steps[event.step].needs) - ended) if _is_beginning(event) else []
            if missing:
                names = ", ".join(workflow.steps[index].id for index in missing)
                message = f"{event.to_state} at {event.seq}, before the end of {names}"
                yield Violation(invariant="I14", run_id=run_id, step=event.step, message=message)
            ended.discard(event.step)
            ended |= {event.step} if event.to_state in STEP_FINAL else set()


def retries_keep_to_their_policy(history: History) -> Iterator[Violation]:
    """I17: no more failed attempts than the policy allows, each after at least the delay that it asks for."""
    workflows = dict(_known(history))
    rows = (attempt for attempt in history.attempts if attempt.run_id in workflows)
    for (run_id, step, epoch), attempts in grouped(rows, lambda a: (a.run_id, a.step, a.epoch)).items():
        if step >= len(workflows[run_id].steps):
            continue
        policy = workflows[run_id].steps[step].retry
        ordered = sorted(attempts, key=lambda attempt: attempt.attempt)
        failures = sum(attempt.outcome in _FAILURES for attempt in ordered)
        if failures > policy.max_attempts:
            message = f"{failures} attempts failed in epoch {epoch}, {policy.max_attempts} are allowed"
            yield Violation(invariant="I17", run_id=run_id, step=step, message=message)
        for message in _early_retries(ordered, policy):
            yield Violation(invariant="I17", run_id=run_id, step=step, message=message)


def only_pinned_steps_run(history: History) -> Iterator[Violation]:
    """I22: a run's revision exists and is its workflow's, and has every step that the run has."""
    for run in history.runs:
        if run.pinned_to is not None and run.pinned_to != run.workflow:
            message = f"pinned to a revision of {run.pinned_to or 'nothing'}, but it is a run of {run.workflow}"
            yield Violation(invariant="I22", run_id=run.run_id, message=message)
    sizes = {run_id: len(workflow.steps) for run_id, workflow in _known(history)}
    for step in history.steps:
        if step.run_id in sizes and not 0 <= step.step < sizes[step.run_id]:
            message = f"{step.state}, but the definition has {sizes[step.run_id]} steps"
            yield Violation(invariant="I22", run_id=step.run_id, step=step.step, message=message)


def ended_runs_are_whole(history: History) -> Iterator[Violation]:
    """I25: a run that has ended has a row for every step of its definition."""
    rows = grouped(history.steps, lambda step: step.run_id)
    workflows = dict(_known(history))
    for run in history.runs:
        if run.state not in RUN_FINAL or run.run_id not in workflows:
            continue
        missing = {step.index for step in workflows[run.run_id].steps} - {row.step for row in rows[run.run_id]}
        if missing:
            message = f"{run.state}, and nothing is known of the steps {sorted(missing)}"
            yield Violation(invariant="I25", run_id=run.run_id, message=message)


def _known(history: History) -> Iterator[tuple[UUID, Workflow]]:
    for run in history.runs:
        workflow = workflow_of(history, run)
        if workflow is not None:
            yield run.run_id, workflow


def _is_beginning(event: EventRow) -> bool:
    return event.from_state in _NOT_BEGUN and event.to_state not in _NOT_A_BEGINNING


def _early_retries(attempts: list[AttemptRow], policy: RetryPolicy) -> Iterator[str]:
    failures = 0
    for attempt, following in pairwise(attempts):
        if attempt.outcome not in _FAILURES:
            continue
        failures += 1
        least = timedelta(0) if policy.jitter is Jitter.FULL else timedelta(seconds=backoff_delay(policy, failures))
        if attempt.ended_at is None or following.started_at is None:
            continue
        waited = following.started_at - attempt.ended_at
        if waited < least - _ROUNDING:
            yield (
                f"attempt {following.attempt} started {waited.total_seconds():.3f} s after attempt {attempt.attempt} "
                f"had failed; the policy asks for {least.total_seconds():g} s"
            )
