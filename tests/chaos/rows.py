"""What the checker looks at, rows of the runtime tables and what was seen from outside, and what it finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A row of `runs`."""

    run_id: UUID
    state: str
    seq: int
    cause_kind: str
    cause_id: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A row of `steps`. The ages are in seconds, as the database's clock sees them; None where they do not apply."""

    run_id: UUID
    step: int
    state: str
    epoch: int
    lease_token: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """A row of `dead_letters`."""

    run_id: UUID
    step: int
    epoch: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the database says about some runs, read at one moment."""

    runs: Sequence[RunRow]
    steps: Sequence[StepRow] = ()
    attempts: Sequence[AttemptRow] = ()
    events: Sequence[EventRow] = ()
    letters: Sequence[LetterRow] = ()


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
class Acknowledged:
    """A start that the product confirmed. `ticket` identifies what the driver asked for."""

    ticket: str
    run_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What was seen from outside: by the driver and by the server that the steps called."""

    acknowledged: Sequence[Acknowledged] = ()
    ledger: Sequence[LedgerLine] = ()
    tickets: Mapping[UUID, str] = field(default_factory=dict)  #: what each run in the database says it was asked for
    callers: Mapping[str, int] = field(default_factory=dict)  #: ids of the steps that call the server, with their index
    keyed: frozenset[str] = frozenset()  #: those of them whose requests must carry an idempotency key


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
