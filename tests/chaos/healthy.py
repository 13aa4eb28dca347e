"""A history with nothing wrong in it, and the outside's side of the same story: what the broken ones are made from.

Two steps: the first executor of `notify` was killed after it had sent the request, the step succeeded on another one,
and `report` followed. A schedule ticked twice; the second tick started a run of its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from taskforge.domain.workflow import ActionKind, Jitter, RetryPolicy, Step, Workflow
from taskforge.invariants.rows import (
    AttemptRow,
    Call,
    CauseRow,
    EventRow,
    History,
    LedgerLine,
    LetterRow,
    Op,
    Outside,
    RunRow,
    ScheduleRow,
    StepRow,
    TickRow,
)

RUN, OTHER, TICKED, EXECUTOR, SCHEDULE, REVISION = (UUID(int=number) for number in range(1, 7))
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(seconds=9)
SENT = START.timestamp() + 5
CANARY = 'k3y/with+odd "characters" & länger'
DELIVERY = str(UUID(int=77))

_RETRY = RetryPolicy(max_attempts=2, on=frozenset({"5xx"}), initial=2.0, jitter=Jitter.NONE)
WORKFLOW = Workflow(
    name="demo",
    source_hash="",
    steps=(
        Step(index=0, id="notify", kind=ActionKind.HTTP, params={}, retry=_RETRY),
        Step(index=1, id="report", kind=ActionKind.TRANSFORM, params={}, needs=(0,)),
    ),
)


def event(seq: int, step: int | None, before: str, after: str, **changes: Any) -> EventRow:
    """An event of the run, `seq` seconds after its start."""
    made = EventRow(
        run_id=RUN, seq=seq, step=step, from_state=before, to_state=after, cause="", epoch=0, attempt=0, lease_token=0,
        at=START + timedelta(seconds=seq),
    )  # fmt: skip
    return replace(made, **changes)


def attempt(number: int, outcome: str, **changes: Any) -> AttemptRow:
    """An attempt of `notify`: the first from second 4 to 5, the second from 6 to 7."""
    started = START + timedelta(seconds=2 * number + 2)
    made = AttemptRow(
        run_id=RUN, step=0, epoch=0, attempt=number, outcome=outcome, lease_token=number, executor_id=EXECUTOR,
        started_at=started, ended_at=started + timedelta(seconds=1),
    )  # fmt: skip
    return replace(made, **changes)


def step(index: int, state: str, **changes: Any) -> StepRow:
    """A row of a step."""
    made = StepRow(run_id=RUN, step=index, state=state, epoch=0, lease_token=2 - index, result_hash=b"result")
    return replace(made, **changes)


def letter(state: str, **changes: Any) -> LetterRow:
    """A dead letter of `notify`."""
    return replace(LetterRow(run_id=RUN, step=0, epoch=0, state=state, audited=True), **changes)


def tick(minute: int, outcome: str, run_id: UUID | None = None) -> TickRow:
    """A tick of the schedule at a minute of the hour, handled a second later."""
    nominal = START + timedelta(minutes=minute)
    cause = nominal.isoformat().replace("+00:00", "Z") if run_id else None
    return TickRow(
        trigger_id=SCHEDULE, nominal_at=nominal, outcome=outcome, run_id=run_id,
        handled_at=nominal + timedelta(seconds=1), run_cause=cause,
    )  # fmt: skip


def line(number: int, **changes: Any) -> LedgerLine:
    """A request of `notify`."""
    sent = LedgerLine(
        at=SENT, run_id=RUN, step="notify", attempt=number, epoch=0, token=number, idempotency_key="k", ticket="t-1"
    )
    return replace(sent, **changes)


def op(kind: Any, action: Any = "start", *, key: str = "t-1", at: float = 0.0, **changes: Any) -> Op:
    """An operation of the driver's first process, so many seconds after the run's start."""
    return replace(Op(process=0, kind=kind, action=action, key=key, at=START.timestamp() + at), **changes)


def call(kind: Any, answer: Any, token: int, *, at: float = 7.0, result: bytes | None = b"result") -> Call:
    """What an executor sent for `notify`, so many seconds after the run's start."""
    sent = START.timestamp() + at
    return Call(
        kind=kind, run_id=RUN, step=0, token=token, answer=answer, sent_at=sent, answered_at=sent + 0.1,
        result_hash=result if kind == "complete" else None,
    )  # fmt: skip


HEALTHY = History(
    runs=[
        RunRow(
            run_id=RUN, state="SUCCEEDED", seq=9, cause_kind="webhook", cause_id=DELIVERY, ended_at=END,
            workflow="demo", revision_id=REVISION, pinned_to="demo", cause_trigger="hook",
        )
    ],
    steps=[step(0, "SUCCEEDED"), step(1, "SUCCEEDED", result_hash=None)],
    attempts=[
        attempt(1, "UNKNOWN"),
        attempt(2, "SUCCEEDED"),
        attempt(1, "SUCCEEDED", step=1, lease_token=1, started_at=END, ended_at=END),
    ],
    events=[
        event(1, None, "", "QUEUED"),
        event(2, 0, "PENDING", "QUEUED"),
        event(3, None, "QUEUED", "RUNNING"),
        event(4, 0, "QUEUED", "RUNNING", attempt=1, lease_token=1),
        event(5, 0, "RUNNING", "QUEUED", attempt=1, lease_token=1),
        event(6, 0, "QUEUED", "RUNNING", attempt=2, lease_token=2),
        event(7, 0, "RUNNING", "SUCCEEDED", attempt=2, lease_token=2),
        event(8, 1, "PENDING", "SUCCEEDED", attempt=1, lease_token=1),
        event(9, None, "RUNNING", "SUCCEEDED"),
    ],
    causes=[CauseRow(run_id=RUN, kind="webhook", caused=RUN)],
    schedules=[
        ScheduleRow(trigger_id=SCHEDULE, name="demo/each", due=[START + timedelta(minutes=n) for n in (1, 2)])
    ],
    ticks=[tick(1, "COALESCED"), tick(2, "FIRED", TICKED)],
    workflows={REVISION: WORKFLOW},
)  # fmt: skip
OUTSIDE = Outside(
    ops=[
        op("invoke"),
        op("ok", at=1, run_id=RUN),
        op("invoke", "read", at=2, run_id=RUN),
        op("ok", "read", at=3, run_id=RUN),
    ],
    calls=[
        call("renew", "stale", 1, at=5.5),
        call("complete", "stale", 1, at=6.5),
        call("complete", "accepted", 2),
        call("complete", "already_accepted", 2, at=8),
    ],
    ledger=[line(1), line(2)],
    tickets={RUN: "t-1"},
    callers={"notify": 0},
    keyed=frozenset({"notify"}),
    canaries=[CANARY],
    texts={"the log": "nothing to see"},
)
#: The same run, but `notify` gave up after its second attempt.
FAILED = replace(
    HEALTHY,
    runs=[replace(HEALTHY.runs[0], state="FAILED")],
    steps=[step(0, "FAILED"), step(1, "CANCELLED", lease_token=0, result_hash=None)],
    attempts=[attempt(1, "FAILED"), attempt(2, "FAILED", started_at=END, ended_at=END)],
    events=[
        *HEALTHY.events[:4],
        event(5, 0, "RUNNING", "RETRYING", attempt=1, lease_token=1),
        event(6, 0, "RETRYING", "QUEUED", attempt=1, lease_token=1),
        event(7, 0, "QUEUED", "RUNNING", attempt=2, lease_token=2),
        event(8, 0, "RUNNING", "FAILED", attempt=2, lease_token=2),
        event(9, 1, "PENDING", "CANCELLED"),
        event(10, None, "RUNNING", "FAILED"),
    ],
    letters=[letter("OPEN")],
)
FAILED = replace(FAILED, runs=[replace(FAILED.runs[0], seq=10)])
