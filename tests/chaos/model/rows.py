"""What the database of the model holds, and the words for what is asked of it."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import NamedTuple

from taskforge.domain.outcome import StepError
from taskforge.domain.run import ABSENT, StepView
from taskforge.domain.states import RunState, StepState

NOBODY = -1
MAX_CRASHES = 2


class Result(StrEnum):
    """What an executor reports about a step."""

    SUCCEEDED = auto()
    FAILED = auto()  # may be tried again
    UNSTORABLE = auto()  # the scheduler would not take the result: it is not tried again
    CANCELLED = auto()
    RELEASED = auto()


class Verdict(StrEnum):
    """What the scheduler says of a report."""

    ACCEPTED = auto()
    ALREADY_ACCEPTED = auto()
    STALE_LEASE = auto()


TAKEN = frozenset({Verdict.ACCEPTED, Verdict.ALREADY_ACCEPTED})


class Bug(StrEnum):
    """Mistakes that can be put into the model: the search must find each of them."""

    NO_FENCE_ON_COMPLETE = auto()  # neither token nor holder nor lease is compared
    COMPLETE_AFTER_EXPIRY = auto()  # a lease that ran out is good until somebody takes it back
    TOKEN_STAYS_ON_CLAIM = auto()
    TOKEN_RESTARTS_ON_REDRIVE = auto()
    EXPIRE_WITHOUT_LOOKING_AGAIN = auto()  # a sweep believes what it found
    RETRY_WITHOUT_LOOKING_AGAIN = auto()
    ANSWER_WITHOUT_COMMIT = auto()  # with the next lease, or without one
    RESULT_NOT_REMEMBERED = auto()  # nothing is ALREADY_ACCEPTED
    GRANT_AGAIN_TO_ANYBODY = auto()  # a lost answer is given to whoever asks
    GRANT_TAKEN_TWICE = auto()  # an executor works under whatever it is told
    LEASES_FORGOTTEN = auto()  # an executor forgets under what it has worked
    LETTER_LOST = auto()  # only the first epoch makes dead letters
    NO_SWEEPER = auto()


class Grant(NamedTuple):
    """A lease as it is told to an executor."""

    step: int
    token: int


class Row(NamedTuple):
    """A step. The last two columns are the model's own memory: no transaction looks at them."""

    view: StepView = ABSENT
    holder: int = NOBODY  #: the last executor
    alive: bool = False  #: lease_until lies ahead; only time makes it false
    due: bool = False  #: due_at has passed
    result: str | None = None  #: result_hash
    taken: tuple[int, str] | None = None  #: token and result of the report that left it as it is
    released: int = 0  #: how often it was handed back in this epoch

    @property
    def is_leased(self) -> bool:
        """Whether a lease is good at this moment."""
        return self.view.state is StepState.RUNNING and self.alive

    def is_leased_by(self, executor: int, token: int) -> bool:
        """Whether this lease is the good one."""
        return self.is_leased and self.holder == executor and self.view.token == token


class Letter(NamedTuple):
    """A dead letter."""

    step: int
    epoch: int
    is_open: bool


class Tables(NamedTuple):
    """Everything that is committed."""

    run: RunState
    error: StepError | None
    rows: tuple[Row, ...]
    letters: tuple[Letter, ...] = ()
    wins: tuple[tuple[int, int, int], ...] = ()  #: (step, epoch, token) of every attempt written as SUCCEEDED
