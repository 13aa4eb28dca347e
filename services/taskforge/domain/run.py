"""What a run is at one moment, what can happen to it, and what must then be written.

`advance` (in advance.py) takes a snapshot and an event and returns decisions; this module holds the nouns. Those that
are made for every step are named tuples: as immutable as a frozen dataclass, and made in a fifth of its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from taskforge.domain.outcome import Outcome, StepError
from taskforge.domain.states import STEP_FINAL, AttemptOutcome, RunState, StepState
from taskforge.domain.workflow import JsonValue, Workflow


class StepView(NamedTuple):
    """The durable state of one step. A step without a row is `StepView()`."""

    state: StepState = StepState.PENDING
    attempt: int = 0  #: attempts started in this epoch
    failures: int = 0  #: attempts that failed by the step's own fault in this epoch
    crashes: int = 0  #: executors lost under it in this epoch
    epoch: int = 0  #: how often it was redriven
    token: int = 0  #: the fencing token of its last lease; grows for ever
    branch: int | None = None  #: the branch a switch took
    elapsed: float = 0.0  #: seconds from the epoch's first attempt to now, on the database's clock

    @property
    def is_final(self) -> bool:
        """Whether only a redrive can change it."""
        return self.state in STEP_FINAL

    def to(self, state: StepState, *, branch: int | None = None) -> StepView:
        """The same step in another state; a `branch` once taken stays."""
        _, attempt, failures, crashes, epoch, token, taken, elapsed = self
        return StepView(state, attempt, failures, crashes, epoch, token, taken if branch is None else branch, elapsed)

    def attempted(self, state: StepState) -> StepView:
        """The step in its next attempt, under its next lease."""
        _, attempt, failures, crashes, epoch, token, branch, elapsed = self
        return StepView(state, attempt + 1, failures, crashes, epoch, token + 1, branch, elapsed)


ABSENT = StepView()


class Snapshot(NamedTuple):
    """A run and its steps, as read under the run's row lock. Steps that are missing are PENDING."""

    workflow: Workflow
    state: RunState
    steps: Mapping[int, StepView] = MappingProxyType({})
    stop_error: StepError | None = None  #: why the run will end FAILED: its first failed step, or its timeout

    def step(self, index: int) -> StepView:
        """The step's view, PENDING if it has no row."""
        return self.steps.get(index, ABSENT)


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The run was created."""


class Claimed(NamedTuple):
    """An executor takes a QUEUED step, or a PENDING one that its own completion made ready."""

    step: int


class Finished(NamedTuple):
    """The holder of a step's lease reports its outcome. `jitter` is a random number in [0, 1)."""

    step: int
    outcome: Outcome
    jitter: float = 0.0


class Carried(NamedTuple):
    """An executor evaluated a ready step ahead of its own commit: a pure one, or one whose `if` was false."""

    step: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExpired:
    """Nobody renewed a RUNNING step's lease in time."""

    step: int
    max_crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDue:
    """A RETRYING step's delay is over."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody asked to stop the run; with `error`, the run's timeout did and it will end FAILED."""

    reason: str = ""
    error: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """An audited redrive of final steps: FAILED ones, with the steps that were cancelled after them."""

    steps: tuple[int, ...]
    actor: str = ""


Event = Started | Claimed | Finished | Carried | LeaseExpired | RetryDue | CancelRequested | Redriven


# --- decisions ----------------------------------------------------------------------------------


class StepChanged(NamedTuple):
    """Write the step's new view; `cause` goes to the history."""

    step: int
    before: StepView
    after: StepView
    cause: str
    output: JsonValue = None
    error: StepError | None = None
    delay: float | None = None  #: seconds until a RETRYING step is due


class AttemptEnded(NamedTuple):
    """Append the attempt to the history."""

    step: int
    attempt: int
    epoch: int
    outcome: AttemptOutcome
    error: StepError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """Keep the failed step until somebody redrives or discards it."""

    step: int
    epoch: int
    error: StepError
    reason: str


class RunChanged(NamedTuple):
    """Write the run's new state. For SUCCEEDED, the output is that of the workflow's output step."""

    before: RunState
    after: RunState
    cause: str
    error: StepError | None = None


Decision = StepChanged | AttemptEnded | DeadLettered | RunChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The event does not apply to the snapshot, which stays as it is."""

    reason: str


class Advanced(NamedTuple):
    """The snapshot after the event, what to write, and the steps that became QUEUED."""

    snapshot: Snapshot
    decisions: tuple[Decision, ...]
    queued: tuple[int, ...]
