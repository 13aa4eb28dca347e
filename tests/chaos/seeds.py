"""Seeded bugs: what a history or the outside would look like if the product were wrong in one way."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from taskforge.invariants.rows import CauseRow, EventRow, History, Outside
from tests.chaos.healthy import (
    CANARY,
    END,
    FAILED,
    HEALTHY,
    OTHER,
    OUTSIDE,
    RUN,
    START,
    TICKED,
    attempt,
    call,
    event,
    letter,
    line,
    op,
    step,
    tick,
)

#: Which invariant is broken, and the broken story.
Seed = tuple[str, History, Outside]


def _events(*changed: EventRow, base: History = HEALTHY) -> Sequence[EventRow]:
    kept = {one.seq: one for one in (*base.events, *changed)}
    return list(kept.values())


def _run(base: History = HEALTHY, **changes: Any) -> History:
    return replace(base, runs=[replace(base.runs[0], **changes)])


def _database(invariant: str, history: History) -> Seed:
    return invariant, history, OUTSIDE


def _outside(invariant: str, **changes: Any) -> Seed:
    return invariant, HEALTHY, replace(OUTSIDE, **changes)


def _asked(invariant: str, *ops: Any) -> Seed:
    return _outside(invariant, ops=list(ops))


def _leak(text: str) -> Seed:
    return _outside("I24", texts={"the log": f"before {text} after"})


def _tick_handled(at: datetime) -> History:
    return replace(HEALTHY, ticks=[HEALTHY.ticks[0], replace(HEALTHY.ticks[1], handled_at=at)])


_TWICE = replace(HEALTHY, runs=[*HEALTHY.runs, replace(HEALTHY.runs[0], run_id=OTHER, seq=0)])
_TIMED_OUT = replace(
    _run(state="CANCELLING", seq=10, ended_at=None, deadline_at=END + timedelta(seconds=60)),
    events=_events(event(9, None, "RUNNING", "CANCELLING", cause="run_timed_out")),
)

#: The bugs that the checker is there for.
NAMED: dict[str, Seed] = {
    "a dropped run": ("I1", replace(HEALTHY, runs=[]), OUTSIDE),
    "a doubled completion": _database(
        "I7", replace(HEALTHY, attempts=[attempt(1, "SUCCEEDED"), *HEALTHY.attempts[1:]])
    ),
    "a skipped fence": _database("I9", replace(HEALTHY, attempts=[attempt(1, "FAILED"), *HEALTHY.attempts[1:]])),
    "a terminal state left": _database("I6", replace(HEALTHY, events=_events(event(10, 0, "SUCCEEDED", "RUNNING")))),
    "a lost tick": _database("I19", replace(HEALTHY, ticks=HEALTHY.ticks[1:])),
    "a doubled tick": _database("I19", replace(HEALTHY, ticks=[*HEALTHY.ticks, tick(2, "FIRED", OTHER)])),
    #: A failover to an asynchronous standby: the last commits are gone, whoever was told of them.
    "an acknowledged loss": _outside(
        "I1", ops=[*OUTSIDE.ops, op("invoke", key="t-2"), op("ok", key="t-2", run_id=OTHER)]
    ),
}

HISTORY: dict[str, Seed] = {
    "an event is missing": _database("I5", replace(HEALTHY, events=[*HEALTHY.events[:2], *HEALTHY.events[3:]])),
    "a run's number is ahead": _database("I5", _run(seq=10)),
    "a change that does not exist": _database(
        "I5", replace(HEALTHY, events=_events(event(7, 0, "RUNNING", "PENDING")))
    ),
    "a state that does not exist": _database("I5", replace(HEALTHY, events=_events(event(7, 0, "RUNNING", "LOST")))),
    "a row that its history does not explain": _database(
        "I5", replace(HEALTHY, steps=[step(0, "FAILED"), HEALTHY.steps[1]])
    ),
    "a row without a history": _database("I5", replace(HEALTHY, steps=[*HEALTHY.steps, step(2, "SKIPPED")])),
    "a run that nothing will move": _database("I16", _run(state="RUNNING")),
    "a run that ended with a step under way": _database(
        "I25", replace(HEALTHY, steps=[step(0, "RUNNING"), HEALTHY.steps[1]])
    ),
    "a run that ended without one of its steps": _database("I25", replace(HEALTHY, steps=HEALTHY.steps[:1])),
    "a step that is not in the definition": _database(
        "I22", replace(HEALTHY, steps=[*HEALTHY.steps, step(9, "SKIPPED")])
    ),
    "a revision of another workflow": _database("I22", _run(pinned_to="other")),
    "a revision that is gone": _database("I22", _run(pinned_to="")),
    "a step before what it needs": _database("I14", replace(HEALTHY, events=_events(event(5, 1, "PENDING", "QUEUED")))),
    "two runs of one delivery": _database("I4", _TWICE),
    "a run without its cause": _database("I4", _run(cause_id="")),
    "a delivery that started another run": _database(
        "I4", replace(HEALTHY, causes=[CauseRow(run_id=RUN, kind="webhook", caused=OTHER)])
    ),
    "a delivery that does not exist": _database(
        "I4", replace(HEALTHY, causes=[CauseRow(run_id=RUN, kind="webhook", caused=None)])
    ),
}

LEASES: dict[str, Seed] = {
    "a result without an attempt": _database("I7", replace(HEALTHY, attempts=HEALTHY.attempts[:1])),
    "a result under an old token": _database(
        "I7", replace(HEALTHY, steps=[step(0, "SUCCEEDED", lease_token=3), HEALTHY.steps[1]])
    ),
    "a result without its hash": _database(
        "I7", replace(HEALTHY, steps=[step(0, "SUCCEEDED", result_hash=None), HEALTHY.steps[1]])
    ),
    "a token that was given twice": _database(
        "I8", replace(HEALTHY, attempts=[attempt(1, "UNKNOWN", lease_token=2), *HEALTHY.attempts[1:]])
    ),
    "a lease with an old token": _database(
        "I8", replace(HEALTHY, events=_events(event(6, 0, "QUEUED", "RUNNING", attempt=2, lease_token=1)))
    ),
    "two holders at once": _database(
        "I8", replace(HEALTHY, attempts=[attempt(1, "UNKNOWN", ended_at=END), *HEALTHY.attempts[1:]])
    ),
    "a holder from before the last one's end": _database(
        "I8", replace(HEALTHY, steps=[step(0, "RUNNING", started_at=START), HEALTHY.steps[1]])
    ),
    "an attempt that is missing": _database("I17", replace(HEALTHY, attempts=HEALTHY.attempts[1:])),
    "a retry that came too early": _database(
        "I17", replace(FAILED, attempts=[FAILED.attempts[0], attempt(2, "FAILED")])
    ),
    "more failures than are allowed": _database(
        "I17", replace(FAILED, attempts=[*FAILED.attempts, attempt(3, "FAILED", started_at=END + timedelta(seconds=9))])
    ),
    "a claim after the cancellation": _database(
        "I21", replace(HEALTHY, events=_events(event(5, None, "RUNNING", "CANCELLING")))
    ),
    "an open dead letter of a step that succeeded": _database("I18", replace(HEALTHY, letters=[letter("OPEN")])),
    "a dead letter that was made twice": _database("I18", replace(FAILED, letters=[letter("OPEN"), letter("OPEN")])),
    "a redrive that changed nothing": _database("I18", replace(FAILED, letters=[letter("REDRIVEN")])),
    "a dead letter that is lost": _database("I18", replace(FAILED, letters=[])),
    "a dead letter that nobody closed": _database("I18", replace(FAILED, letters=[letter("DISCARDED", audited=False)])),
}

SCHEDULES: dict[str, Seed] = {
    "one run for two ticks": _database("I19", replace(HEALTHY, ticks=[tick(1, "FIRED", TICKED), HEALTHY.ticks[1]])),
    "a tick whose run is lost": _database(
        "I19", replace(HEALTHY, ticks=[HEALTHY.ticks[0], replace(HEALTHY.ticks[1], run_cause=None)])
    ),
    "a tick whose run was started for another": _database(
        "I19", replace(HEALTHY, ticks=[HEALTHY.ticks[0], replace(HEALTHY.ticks[1], run_cause="2026-01-01T00:01:00Z")])
    ),
    "a skipped tick with a run": _database(
        "I19", replace(HEALTHY, ticks=[replace(HEALTHY.ticks[0], run_id=TICKED), HEALTHY.ticks[1]])
    ),
    "a tick before its time": _database("I20", _tick_handled(START)),
    "a timeout before its time": _database("I20", _TIMED_OUT),
}

DRIVER: dict[str, Seed] = {
    "a request that was confirmed as two runs": _outside("I1", ops=[*OUTSIDE.ops, op("ok", at=2, run_id=OTHER)]),
    "a request that made two runs": ("I2", _TWICE, replace(OUTSIDE, tickets={RUN: "t-1", OTHER: "t-1"})),
    "a run of a refused request": _asked("I3", op("invoke"), op("fail", status="400")),
    "a run of a request that was shed": _asked("I27", op("invoke"), op("fail", status="429")),
    "a cancellation that was forgotten": _outside("I21", ops=[*OUTSIDE.ops, op("ok", "cancel", run_id=RUN)]),
    "a run that was confirmed and is not found": _asked(
        "I26", *OUTSIDE.ops[:3], op("fail", "read", at=3, run_id=RUN, status="404")
    ),
}

EFFECTS: dict[str, Seed] = {
    "a success that never left the house": _outside("I10", ledger=[]),
    "an attempt that was sent twice": _outside("I11", ledger=[line(1), line(2), line(2)]),
    "one request too many": ("I11", replace(HEALTHY, attempts=HEALTHY.attempts[1:]), OUTSIDE),
    "two keys for one step": _outside("I11", ledger=[line(1), line(2, idempotency_key="l")]),
    "a request without a key": _outside("I11", ledger=[line(1, idempotency_key=""), line(2, idempotency_key="")]),
    "one key for two steps": _outside("I11", ledger=[line(1), line(2), line(1, step="other")]),
    "a request under another token": _outside("I12", ledger=[line(1), line(2, token=9)]),
    "a request that nobody leased": _outside("I12", ledger=[line(1), line(2), line(3)]),
    "a request after the run's end": _outside("I13", ledger=[line(1), line(2, at=END.timestamp() + 0.5)]),
    "a completion under a lost lease": _outside(
        "I9", calls=[call("renew", "stale", 2, at=6), call("complete", "accepted", 2, at=7)]
    ),
    "two results under one lease": _outside(
        "I7", calls=[call("complete", "accepted", 2), call("complete", "accepted", 2, result=b"other")]
    ),
    "a result that nobody sent": _outside("I7", calls=[call("complete", "accepted", 2, result=b"other")]),
    "a secret as it is": _leak(CANARY),
    "a secret in base64": _leak(base64.b64encode(b"a" + CANARY.encode() + b"b").decode()),
    "a secret in a URL": _leak("k3y%2Fwith%2Bodd%20%22characters%22%20%26%20l%C3%A4nger"),
    "a secret in JSON": _leak('"k3y/with+odd \\"characters\\" & l\\u00e4nger"'),
    "a secret in hex": _leak(CANARY.encode().hex()),
}

SEEDS: dict[str, Seed] = {**NAMED, **HISTORY, **LEASES, **SCHEDULES, **DRIVER, **EFFECTS}
