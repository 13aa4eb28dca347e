"""The state machines of runs and steps: every state, every legal arrow, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "QUEUED"  # accepted and durable; no step has been claimed yet
    RUNNING = "RUNNING"  # at least one step has been claimed
    CANCELLING = "CANCELLING"  # asked to stop; steps that an executor holds are still ending
    SUCCEEDED = "SUCCEEDED"  # every step ended and none failed the run
    FAILED = "FAILED"  # a step failed, or the run's timeout passed
    CANCELLED = "CANCELLED"  # stopped on request


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "PENDING"  # waits for the steps it needs; usually has no row yet
    QUEUED = "QUEUED"  # may be claimed by any executor
    RUNNING = "RUNNING"  # an executor holds its lease
    RETRYING = "RETRYING"  # failed an attempt; due again later
    WAITING = "WAITING"  # waits for the outside world and holds no executor
    SUCCEEDED = "SUCCEEDED"  # ended with an output
    FAILED = "FAILED"  # gave up; a dead letter keeps it until redriven or discarded
    SKIPPED = "SKIPPED"  # its `if` was false or its branch was not taken
    CANCELLED = "CANCELLED"  # the run ended before it could


class AttemptOutcome(StrEnum):
    """How one attempt of a step ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CRASHED = "CRASHED"  # its executor was lost; the action is safe to repeat
    UNKNOWN = "UNKNOWN"  # its executor was lost while an outside effect may have happened
    CANCELLED = "CANCELLED"  # stopped on request, or handed back by a draining executor


class DeadLetterState(StrEnum):
    """What became of a dead letter."""

    OPEN = "OPEN"
    REDRIVEN = "REDRIVEN"
    DISCARDED = "DISCARDED"


RUN_FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
STEP_FINAL = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED})

# Final states are left only by an audited redrive: FAILED or CANCELLED runs go back to RUNNING.
RUN_TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLING, RunState.CANCELLED, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.CANCELLING, RunState.SUCCEEDED, RunState.FAILED}),
    RunState.CANCELLING: frozenset({RunState.CANCELLED, RunState.FAILED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.RUNNING}),
    RunState.CANCELLED: frozenset({RunState.RUNNING}),
}

# PENDING may end at once: an executor that carries a run on evaluates pure steps in one stretch,
# so their only durable transition is the last one. FAILED and CANCELLED are left only by a redrive.
STEP_TRANSITIONS: Mapping[StepState, frozenset[StepState]] = {
    StepState.PENDING: frozenset(
        {
            StepState.QUEUED,
            StepState.RUNNING,
            StepState.SUCCEEDED,
            StepState.FAILED,
            StepState.SKIPPED,
            StepState.CANCELLED,
        }
    ),
    StepState.QUEUED: frozenset({StepState.RUNNING, StepState.CANCELLED}),
    StepState.RUNNING: frozenset(
        {
            StepState.SUCCEEDED,
            StepState.FAILED,
            StepState.SKIPPED,
            StepState.CANCELLED,
            StepState.RETRYING,
            StepState.WAITING,
            StepState.QUEUED,
        }
    ),
    StepState.RETRYING: frozenset({StepState.QUEUED, StepState.CANCELLED}),
    StepState.WAITING: frozenset(
        {StepState.QUEUED, StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED},
    ),
    StepState.SUCCEEDED: frozenset(),
    StepState.SKIPPED: frozenset(),
    StepState.FAILED: frozenset({StepState.QUEUED, StepState.PENDING}),
    # A redrive also skips at once what it finds on a branch that was not taken.
    StepState.CANCELLED: frozenset({StepState.QUEUED, StepState.PENDING, StepState.SKIPPED}),
}
