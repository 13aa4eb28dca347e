"""What the checker looks at: rows of the runtime tables, lines of the ledger, and what the driver was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


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
    effects: Mapping[str, int] = field(default_factory=dict)  #: ids of the steps that call the server, with their index
