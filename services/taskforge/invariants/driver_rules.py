"""What somebody who starts, reads and stops runs was told is true, and stays true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from taskforge.domain.states import RunState
from taskforge.invariants.rows import STARTS, History, Op, Outside, Violation, grouped

_SHED = frozenset({"429", "503"})
_MISSING = "404"


def acknowledged_runs_exist(history: History, outside: Outside) -> Iterator[Violation]:
    """I1: what was confirmed is there, and one request was never confirmed as two runs."""
    known = {run.run_id for run in history.runs}
    confirmed = outside.confirmed
    for told in confirmed:
        if told.run_id not in known:
            yield Violation(invariant="I1", run_id=told.run_id, message=f"{told.ticket} was confirmed and is lost")
    for ticket, answers in grouped(confirmed, lambda told: told.ticket).items():
        runs = {told.run_id for told in answers}
        if len(runs) > 1:
            yield Violation(invariant="I1", message=f"{ticket} was confirmed as {len(runs)} runs")


def one_request_is_one_run(history: History, outside: Outside) -> Iterator[Violation]:
    """I2: however often a request was sent, it made one run at most."""
    counts = Counter(outside.tickets[run.run_id] for run in history.runs if run.run_id in outside.tickets)
    for key, count in counts.items():
        if count > 1:
            yield Violation(invariant="I2", message=f"{key} made {count} runs")


def refused_requests_made_nothing(history: History, outside: Outside) -> Iterator[Violation]:
    """I3: a request that was only ever refused made no run."""
    yield from _made_though(history, outside, "I3", "was refused", shed=False)


def shed_requests_made_nothing(history: History, outside: Outside) -> Iterator[Violation]:
    """I27: a request that was only ever turned away for load made no run."""
    yield from _made_though(history, outside, "I27", "was turned away for load", shed=True)


def confirmed_cancels_are_kept(history: History, outside: Outside) -> Iterator[Violation]:
    """I21: a run whose cancellation was confirmed has been told to stop."""
    stopped = {event.run_id for event in history.events if event.to_state == RunState.CANCELLING and event.step is None}
    states = {run.run_id: run.state for run in history.runs}
    for op in outside.ops:
        if op.action == "cancel" and op.kind == "ok" and op.run_id in states and op.run_id not in stopped:
            message = f"its cancellation was confirmed, but it is {states[op.run_id]} and was never told to stop"
            yield Violation(invariant="I21", run_id=op.run_id, message=message)


def confirmed_runs_can_be_read(_: History, outside: Outside) -> Iterator[Violation]:
    """I26: whoever asks for a run after its start was confirmed finds it."""
    confirmed: dict[UUID, float] = {}
    for op in outside.ops:
        if op.kind == "ok" and op.action in STARTS and op.run_id is not None:
            confirmed[op.run_id] = min(op.at, confirmed.get(op.run_id, op.at))
    asked: dict[int, float] = {}
    for op in sorted(outside.ops, key=lambda op: op.at):
        if op.action != "read":
            continue
        if op.kind == "invoke":
            asked[op.process] = op.at
        elif op.run_id in confirmed and op.status == _MISSING and asked.get(op.process, op.at) > confirmed[op.run_id]:
            yield Violation(invariant="I26", run_id=op.run_id, message=f"{op.key} was confirmed, and then not found")


def _made_though(history: History, outside: Outside, invariant: str, what: str, *, shed: bool) -> Iterator[Violation]:
    made = {key: run_id for run_id, key in outside.tickets.items()}
    known = {run.run_id for run in history.runs}
    starts = (op for op in outside.ops if op.action in STARTS and op.kind != "invoke")
    for key, ops in grouped(starts, lambda op: op.key).items():
        run_id = made.get(key)
        if run_id in known and all(op.kind == "fail" for op in ops) and any(_is_shed(op) for op in ops) == shed:
            yield Violation(invariant=invariant, run_id=run_id, message=f"{key} {what}, and yet there is a run")


def _is_shed(op: Op) -> bool:
    return op.status in _SHED
