"""The fence: what executors sent under a lease that they had lost changed nothing."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from taskforge.domain.states import StepState
from taskforge.invariants.rows import Call, History, Outside, Violation, grouped

_ACCEPTED = frozenset({"accepted", "already_accepted"})
#: Outcomes that only the holder of the lease can report.
_REPORTED = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT"})


def stale_calls_changed_nothing(history: History, outside: Outside) -> Iterator[Violation]:
    """I9: a lease under which every completion was stale has no outcome that its holder reported."""
    completions = (call for call in outside.calls if call.kind == "complete")
    answers = {lease: {call.answer for call in calls} for lease, calls in grouped(completions, _lease).items()}
    for attempt in history.attempts:
        told = answers.get((attempt.run_id, attempt.step, attempt.lease_token))
        if told == {"stale"} and attempt.outcome in _REPORTED:
            message = f"{attempt.outcome} with token {attempt.lease_token}, whose every completion was refused as stale"
            yield Violation(invariant="I9", run_id=attempt.run_id, step=attempt.step, message=message)


def lost_leases_stay_lost(_: History, outside: Outside) -> Iterator[Violation]:
    """I9: after a renewal was refused as stale, no completion with that token is accepted any more."""
    for (run_id, step, token), calls in grouped(outside.calls, _lease).items():
        lost = min((c.answered_at for c in calls if c.kind == "renew" and c.answer == "stale"), default=float("inf"))
        late = [c for c in calls if c.kind == "complete" and c.answer == "accepted" and c.sent_at > lost]
        if late:
            message = (
                f"a completion with token {token} was accepted {late[0].sent_at - lost:.3f} s after its lease was lost"
            )
            yield Violation(invariant="I9", run_id=run_id, step=step, message=message)


def the_accepted_result_is_kept(history: History, outside: Outside) -> Iterator[Violation]:
    """I7: what is stored is what was accepted, and only one result of a lease was."""
    accepted = grouped((c for c in outside.calls if c.kind == "complete" and c.answer in _ACCEPTED), _lease)
    stored = {(s.run_id, s.step, s.lease_token): s for s in history.steps if s.state == StepState.SUCCEEDED}
    for lease, calls in accepted.items():
        hashes = {call.result_hash for call in calls if call.result_hash}
        if len(hashes) > 1 or sum(call.answer == "accepted" for call in calls) > 1:
            message = f"{len(calls)} completions with token {lease[2]} were accepted"
            yield Violation(invariant="I7", run_id=lease[0], step=lease[1], message=message)
        row = stored.get(lease)
        if row is not None and row.result_hash and hashes and row.result_hash not in hashes:
            message = f"the result that is stored is not the one that was accepted with token {lease[2]}"
            yield Violation(invariant="I7", run_id=lease[0], step=lease[1], message=message)


def _lease(call: Call) -> tuple[UUID, int, int]:
    return call.run_id, call.step, call.token
