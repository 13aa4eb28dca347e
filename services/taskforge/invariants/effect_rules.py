"""What the steps did to the outside world is what the database says that they did."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from taskforge.domain.states import StepState
from taskforge.invariants.rows import History, LedgerLine, Outside, Violation, grouped

#: Outcomes of attempts after which a step is rightly tried again, and its request sent once more.
_TRIED_AGAIN = frozenset({"FAILED", "TIMED_OUT", "CRASHED", "UNKNOWN", "CANCELLED"})


def effects_happened(history: History, outside: Outside) -> Iterator[Violation]:
    """I10: a step with an effect that succeeded did reach the outside."""
    seen = {(line.run_id, outside.callers.get(line.step)) for line in outside.ledger}
    indexes = set(outside.callers.values())
    for step in history.steps:
        if step.state == StepState.SUCCEEDED and step.step in indexes and (step.run_id, step.step) not in seen:
            message = "succeeded without its request"
            yield Violation(invariant="I10", run_id=step.run_id, step=step.step, message=message)


def effects_are_bounded(history: History, outside: Outside) -> Iterator[Violation]:
    """I11: one request an attempt, no more of them than failures and interruptions explain."""
    attempts = grouped(history.attempts, lambda a: (a.run_id, a.step, a.epoch))
    for (run_id, name, epoch), lines in grouped(outside.ledger, _execution).items():
        step = outside.callers.get(name, -1)
        repeated = sorted(number for number, count in Counter(line.attempt for line in lines).items() if count > 1)
        if repeated:
            message = f"attempts {repeated} were sent more than once{_meanwhile(outside, lines)}"
            yield Violation(invariant="I11", run_id=run_id, step=step, message=message)
        allowed = 1 + sum(attempt.outcome in _TRIED_AGAIN for attempt in attempts[run_id, step, epoch])
        if len(lines) > allowed:
            message = f"{len(lines)} requests, {allowed} are explained{_meanwhile(outside, lines)}"
            yield Violation(invariant="I11", run_id=run_id, step=step, message=message)


def repetitions_can_be_told(_: History, outside: Outside) -> Iterator[Violation]:
    """I11: all requests of one execution carry one key, which no other execution has."""
    owners: dict[str, set[tuple[UUID, str, int]]] = defaultdict(set)
    for execution, lines in grouped(outside.ledger, _execution).items():
        keys = {line.idempotency_key for line in lines}
        for key in keys - {""}:
            owners[key].add(execution)
        if len(keys) > 1 or ("" in keys and execution[1] in outside.keyed):
            message = f"'{execution[1]}' was sent under the keys {sorted(keys)}"
            yield Violation(invariant="I11", run_id=execution[0], message=message)
    for key, executions in owners.items():
        if len(executions) > 1:
            yield Violation(invariant="I11", message=f"the key {key} stands for {len(executions)} executions")


def no_ghosts(history: History, outside: Outside) -> Iterator[Violation]:
    """I12: every request belongs to a lease that the database has given."""
    leased = {
        (event.run_id, event.step, event.epoch, event.attempt, event.lease_token)
        for event in history.events
        if event.to_state == StepState.RUNNING
    }
    for line in outside.ledger:
        step = outside.callers.get(line.step)
        if (line.run_id, step, line.epoch, line.attempt, line.token) not in leased:
            message = f"'{line.step}' attempt {line.attempt} with token {line.token} was sent, but never leased"
            yield Violation(invariant="I12", run_id=line.run_id, step=step, message=message)


def nothing_after_the_end(history: History, outside: Outside) -> Iterator[Violation]:
    """I13: a run that has ended sends nothing but what was under way. The clocks are those of one machine."""
    ends: Mapping[UUID, float] = {run.run_id: run.ended_at.timestamp() for run in history.runs if run.ended_at}
    for line in outside.ledger:
        end = ends.get(line.run_id)
        if end is not None and line.at > end + outside.request_seconds:
            message = f"'{line.step}' was sent {line.at - end:.3f} s after the run's end"
            yield Violation(invariant="I13", run_id=line.run_id, message=message)


def _execution(line: LedgerLine) -> tuple[UUID, str, int]:
    return line.run_id, line.step, line.epoch


def _meanwhile(outside: Outside, lines: Sequence[LedgerLine]) -> str:
    """The faults between the first request and the last one: where to look first."""
    first, last = min(line.at for line in lines), max(line.at for line in lines)
    found = [f"{f.what} {f.target}".strip() for f in outside.faults if f.at <= last and f.until >= first]
    return f" (meanwhile: {', '.join(found)})" if found else ""
