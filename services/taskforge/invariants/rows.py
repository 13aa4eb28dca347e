"""What the checker looks at, rows of the database and what was seen from outside, and what it finds.

Optional fields are None, and optional sequences empty, where the reader could not tell: a rule then says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

from taskforge.domain.workflow import Workflow

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


# --- the database -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A row of `runs`."""

    run_id: UUID
    state: str
    seq: int
    cause_kind: str
    cause_id: str
    ended_at: datetime | None
    workflow: str = ""
    revision_id: UUID | None = None
    pinned_to: str | None = None  #: the workflow that its revision belongs to; empty: there is no such revision
    cause_trigger: str = ""
    deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A row of `steps`. The ages are in seconds, as the database's clock sees them; None where they do not apply."""

    run_id: UUID
    step: int
    state: str
    epoch: int
    lease_token: int
    result_hash: bytes | None = None
    started_at: datetime | None = None
    queued_for: float | None = None
    expired_for: float | None = None  #: since the lease ran out
    overdue_for: float | None = None  #: since a retry was due


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """A row of `attempts`."""

    run_id: UUID
    step: int
    epoch: int
    attempt: int
    outcome: str
    lease_token: int
    executor_id: UUID | None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """A row of `events`. `step` is None for a change of the run itself."""

    run_id: UUID
    seq: int
    step: int | None
    from_state: str
    to_state: str
    cause: str
    epoch: int
    attempt: int
    lease_token: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """A row of `dead_letters`, and whether the audit log knows who closed it."""

    run_id: UUID
    step: int
    epoch: int
    state: str
    audited: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseRow:
    """The webhook delivery or the tick that a run names as its cause, and the run that this one names in turn."""

    run_id: UUID
    kind: str
    caused: UUID | None  #: None: it names no run, or does not exist


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRow:
    """A row of `ticks`."""

    trigger_id: UUID
    nominal_at: datetime
    outcome: str
    run_id: UUID | None
    handled_at: datetime
    run_cause: str | None = None  #: what its run says that it was started for; None: there is no such run


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A row of `schedules`, and the instants at which it had to tick, as far as the reader looked at its ticks."""

    trigger_id: UUID
    name: str
    due: Sequence[datetime] = ()
    overdue_for: float | None = None  #: seconds since its next tick was due


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the database says about some runs, and about some ticks of schedules, read at one moment."""

    runs: Sequence[RunRow] = ()
    steps: Sequence[StepRow] = ()
    attempts: Sequence[AttemptRow] = ()
    events: Sequence[EventRow] = ()
    letters: Sequence[LetterRow] = ()
    causes: Sequence[CauseRow] = ()
    schedules: Sequence[ScheduleRow] = ()
    ticks: Sequence[TickRow] = ()
    workflows: Mapping[UUID, Workflow] = field(default_factory=dict)  #: the definitions by their revisions' ids


# --- the outside --------------------------------------------------------------------------------

Action = Literal["start", "deliver", "read", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One line of the driver's history. A process has one operation at a time: `invoke`, and then how it ended.

    `fail` is a definite refusal, `unknown` anything after which nobody can say whether it took effect.
    """

    process: int
    kind: Literal["invoke", "ok", "fail", "unknown"]
    action: Action
    key: str  #: what was asked for: the same for every repetition of one request
    at: float  #: Unix seconds
    run_id: UUID | None = None
    status: str = ""  #: of the answer, as an HTTP status: `200`, `404`


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A start that the product has confirmed. `ticket` is the key of what the driver asked for."""

    ticket: str
    run_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A renewal or a completion that an executor sent. Times are in Unix seconds."""

    kind: Literal["renew", "complete"]
    run_id: UUID
    step: int
    token: int
    answer: Literal["accepted", "already_accepted", "stale", "unknown"]
    sent_at: float
    answered_at: float
    result_hash: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that was broken on purpose. Times are in Unix seconds."""

    what: str
    target: str
    at: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """A request that reached the outside world. `at` is in Unix seconds."""

    at: float
    run_id: UUID
    step: str
    attempt: int
    epoch: int
    token: int
    idempotency_key: str
    ticket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What was seen from outside: by the driver, by the executors, and by the server that the steps called."""

    ops: Sequence[Op] = ()
    calls: Sequence[Call] = ()
    faults: Sequence[Fault] = ()
    ledger: Sequence[LedgerLine] = ()
    tickets: Mapping[UUID, str] = field(default_factory=dict)  #: the key that each run in the database was asked for by
    callers: Mapping[str, int] = field(default_factory=dict)  #: ids of the steps that call the server, with their index
    keyed: frozenset[str] = frozenset()  #: those of them whose requests must carry an idempotency key
    request_seconds: float = 0.0  #: how long after its run's end a request may arrive: it was under way
    canaries: Sequence[str] = ()  #: secret values that must never be seen
    texts: Mapping[str, str] = field(default_factory=dict)  #: where they must not be, such as logs, by name

    @property
    def confirmed(self) -> Sequence[Acknowledged]:
        """Every start that the product has confirmed."""
        return confirmed_starts(self.ops)


STARTS = frozenset({"start", "deliver"})


def confirmed_starts(ops: Iterable[Op]) -> list[Acknowledged]:
    """The starts among operations that were confirmed."""
    return [
        Acknowledged(ticket=op.key, run_id=op.run_id)
        for op in ops
        if op.kind == "ok" and op.action in STARTS and op.run_id is not None
    ]


# --- findings -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken promise."""

    invariant: str
    message: str
    run_id: UUID | None = None
    step: int | None = None

    def __str__(self) -> str:
        where = f" run {self.run_id}" if self.run_id else ""
        return f"{self.invariant}{where}{'' if self.step is None else f' step {self.step}'}: {self.message}"


def grouped(rows: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Rows by a key; a key without rows has an empty list."""
    groups: dict[K, list[T]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def in_order(events: Iterable[EventRow]) -> list[EventRow]:
    """Events as they happened, run by run."""
    return sorted(events, key=lambda event: (event.run_id, event.seq))


def workflow_of(history: History, run: RunRow) -> Workflow | None:
    """The definition that a run is pinned to, if the reader gave it."""
    return history.workflows.get(run.revision_id) if run.revision_id is not None else None
