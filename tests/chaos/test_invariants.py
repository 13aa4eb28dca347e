"""A checker that has never failed proves nothing: each of these histories is broken in one way, and it must see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.invariants import check, rests
from tests.chaos.rows import (
    Acknowledged,
    AttemptRow,
    EventRow,
    History,
    LedgerLine,
    LetterRow,
    Outside,
    RunRow,
    StepRow,
)

_RUN, _OTHER, _EXECUTOR = UUID(int=1), UUID(int=2), UUID(int=9)
_END = datetime(2026, 1, 1, tzinfo=UTC)
_SENT = _END.timestamp() - 1

Seed = Callable[[History, Outside], tuple[History, Outside]]


def event(seq: int, step: int | None, before: str, after: str, *, attempt: int = 0, token: int = 0) -> EventRow:
    return EventRow(
        run_id=_RUN, seq=seq, step=step, from_state=before, to_state=after, cause="", epoch=0,
        attempt=attempt, lease_token=token,
    )  # fmt: skip


def attempt(number: int, outcome: str, *, token: int, epoch: int = 0) -> AttemptRow:
    return AttemptRow(
        run_id=_RUN, step=0, epoch=epoch, attempt=number, outcome=outcome, lease_token=token, executor_id=_EXECUTOR
    )


def line(number: int, **changes: Any) -> LedgerLine:
    sent = LedgerLine(
        at=_SENT, run_id=_RUN, step="notify", attempt=number, epoch=0, token=number, idempotency_key="k", ticket="t-1"
    )
    return replace(sent, **changes)


#: One step whose first executor was killed after the request had been sent, and which succeeded on another one.
HEALTHY = History(
    runs=[RunRow(run_id=_RUN, state="SUCCEEDED", seq=8, cause_kind="manual", cause_id="", ended_at=_END)],
    steps=[StepRow(run_id=_RUN, step=0, state="SUCCEEDED", epoch=0, lease_token=2)],
    attempts=[attempt(1, "UNKNOWN", token=1), attempt(2, "SUCCEEDED", token=2)],
    events=[
        event(1, None, "", "QUEUED"),
        event(2, 0, "PENDING", "QUEUED"),
        event(3, None, "QUEUED", "RUNNING"),
        event(4, 0, "QUEUED", "RUNNING", attempt=1, token=1),
        event(5, 0, "RUNNING", "QUEUED", attempt=1, token=1),
        event(6, 0, "QUEUED", "RUNNING", attempt=2, token=2),
        event(7, 0, "RUNNING", "SUCCEEDED", attempt=2, token=2),
        event(8, None, "RUNNING", "SUCCEEDED"),
    ],
)
OUTSIDE = Outside(
    acknowledged=[Acknowledged(ticket="t-1", run_id=_RUN)],
    ledger=[line(1), line(2)],
    tickets={_RUN: "t-1"},
    callers={"notify": 0},
    keyed=frozenset({"notify"}),
)


def _events(history: History, *changed: EventRow) -> History:
    kept = {one.seq: one for one in (*history.events, *changed)}
    return replace(history, events=list(kept.values()))


SEEDS: dict[str, tuple[str, Seed]] = {
    "an event is missing": ("I5", lambda h, o: (replace(h, events=[*h.events[:2], *h.events[3:]]), o)),
    "a run's number is ahead": ("I5", lambda h, o: (replace(h, runs=[replace(h.runs[0], seq=9)]), o)),
    "a change that does not exist": ("I5", lambda h, o: (_events(h, event(7, 0, "RUNNING", "PENDING")), o)),
    "a row that its history does not explain": (
        "I5",
        lambda h, o: (replace(h, steps=[replace(h.steps[0], state="FAILED")]), o),
    ),
    "a step that ends twice": ("I6", lambda h, o: (_events(h, event(9, 0, "SUCCEEDED", "SUCCEEDED")), o)),
    "a result that was accepted twice": (
        "I7",
        lambda h, o: (replace(h, attempts=[attempt(1, "SUCCEEDED", token=1), *h.attempts[1:]]), o),
    ),
    "a result without an attempt": ("I7", lambda h, o: (replace(h, attempts=h.attempts[:1]), o)),
    "a result under an old token": ("I7", lambda h, o: (replace(h, steps=[replace(h.steps[0], lease_token=3)]), o)),
    "a token that was given twice": (
        "I8",
        lambda h, o: (replace(h, attempts=[attempt(1, "UNKNOWN", token=2), h.attempts[1]]), o),
    ),
    "a lease with an old token": (
        "I8",
        lambda h, o: (_events(h, event(6, 0, "QUEUED", "RUNNING", attempt=2, token=1)), o),
    ),
    "an attempt that is missing": ("I17", lambda h, o: (replace(h, attempts=h.attempts[1:]), o)),
    "an open dead letter of a step that succeeded": (
        "I18",
        lambda h, o: (replace(h, letters=[LetterRow(run_id=_RUN, step=0, epoch=0, state="OPEN")]), o),
    ),
    "a run that ended with a step under way": (
        "I25",
        lambda h, o: (replace(h, steps=[replace(h.steps[0], state="RUNNING")]), o),
    ),
    "a confirmed run that is lost": (
        "I1",
        lambda h, o: (h, replace(o, acknowledged=[Acknowledged(ticket="t-2", run_id=_OTHER)])),
    ),
    "a request that was confirmed as two runs": (
        "I1",
        lambda h, o: (h, replace(o, acknowledged=[*o.acknowledged, Acknowledged(ticket="t-1", run_id=_OTHER)])),
    ),
    "a request that made two runs": (
        "I2",
        lambda h, o: (
            replace(h, runs=[*h.runs, replace(h.runs[0], run_id=_OTHER, seq=0)]),
            replace(o, tickets={_RUN: "t-1", _OTHER: "t-1"}),
        ),
    ),
    "a success that never left the house": ("I10", lambda h, o: (h, replace(o, ledger=[]))),
    "an attempt that was sent twice": ("I11", lambda h, o: (h, replace(o, ledger=[line(1), line(2), line(2)]))),
    "one request too many": (
        "I11",
        lambda h, o: (replace(h, attempts=[attempt(1, "SUCCEEDED", token=2)]), replace(o, ledger=[line(1), line(2)])),
    ),
    "two keys for one step": ("I11", lambda h, o: (h, replace(o, ledger=[line(1), line(2, idempotency_key="l")]))),
    "a request without a key": (
        "I11",
        lambda h, o: (h, replace(o, ledger=[line(1, idempotency_key=""), line(2, idempotency_key="")])),
    ),
    "one key for two steps": ("I11", lambda h, o: (h, replace(o, ledger=[line(1), line(2), line(1, step="other")]))),
    "a request under another token": ("I12", lambda h, o: (h, replace(o, ledger=[line(1), line(2, token=9)]))),
    "a request that nobody leased": ("I12", lambda h, o: (h, replace(o, ledger=[line(1), line(2), line(3)]))),
    "a request after the run's end": (
        "I13",
        lambda h, o: (h, replace(o, ledger=[line(1), line(2, at=_END.timestamp() + 0.5)])),
    ),
}


def test_a_history_with_a_takeover_is_healthy() -> None:
    assert check(HEALTHY, OUTSIDE) == []
    assert list(rests(HEALTHY, grace=2.0)) == []


@pytest.mark.parametrize("name", SEEDS)
def test_a_broken_history_is_seen(name: str) -> None:
    invariant, seed = SEEDS[name]
    assert invariant in {violation.invariant for violation in check(*seed(HEALTHY, OUTSIDE))}


@pytest.mark.parametrize("wait", ["queued_for", "expired_for", "overdue_for"])
def test_a_step_that_nobody_moves_is_seen(wait: str) -> None:
    stuck = StepRow(run_id=_RUN, step=0, state="QUEUED", epoch=0, lease_token=0, **{wait: 9.0})
    history = History(runs=[replace(HEALTHY.runs[0], state="RUNNING")], steps=[stuck])
    assert [violation.invariant for violation in rests(history, grace=2.0)] == ["I16"]
    assert list(rests(history, grace=10.0)) == []


def test_a_run_that_nothing_will_move_is_seen() -> None:
    history = replace(HEALTHY, runs=[replace(HEALTHY.runs[0], state="RUNNING")])
    assert [violation.invariant for violation in rests(history, grace=2.0)] == ["I16"]
