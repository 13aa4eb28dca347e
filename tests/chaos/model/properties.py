"""What no transaction may do to the tables. The names are those of the invariants that the chaos layer checks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from taskforge.domain.states import RUN_FINAL, RUN_TRANSITIONS, STEP_TRANSITIONS, RunState, StepState
from taskforge.domain.workflow import Workflow
from tests.chaos.model.rows import MAX_CRASHES, Grant, Result, Row, Tables, Verdict
from tests.chaos.model.transactions import Change


def broken_by_change(before: Tables, change: Change, workflow: Workflow, *, by: tuple[int, int] | None) -> str | None:
    """The first property that a transaction breaks. `by`: the step and token whose holder asked for it, if one did."""
    after = change.after
    for step, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        for message in _broken_by_step(old, new, may_end=by == (step, old.view.token)):
            return f"{message} (step {step})"
    for message in (*_broken_by_run(before, change), *_broken_letters(after), *_broken_wins(after)):
        return message
    return next(_broken_order(before, after, workflow), None)


def _broken_by_step(old: Row, new: Row, *, may_end: bool) -> Iterator[str]:
    before, after = old.view, new.view
    redriven = after.epoch > before.epoch
    if before.state is not after.state and after.state not in STEP_TRANSITIONS[before.state]:
        yield f"I5: {before.state} became {after.state}"
    if before.is_final and before != after and not redriven:
        yield f"I6: {before.state} was left without a redrive"
    if after.token < before.token:
        yield f"I8: the token fell from {before.token} to {after.token}"
    leased_anew = after.state is StepState.RUNNING and (
        before.state is not StepState.RUNNING or old.holder != new.holder
    )
    if leased_anew and after.token <= before.token:
        yield f"I8: leased again under token {after.token}"
    if old.is_leased and (new.view, new.holder) != (before, old.holder) and not may_end:
        yield "I8: a good lease was ended by somebody else"
    if before.state is StepState.RETRYING and after.state is StepState.QUEUED and not old.due:
        yield "I17: tried again before it was due"
    if after.attempt > 1 + after.failures + after.crashes + new.released:
        yield f"I11: attempt {after.attempt} after {after.failures} failures and {after.crashes} lost leases"
    if after.crashes > MAX_CRASHES:
        yield f"I17: {after.crashes} lost leases"


def _broken_by_run(before: Tables, change: Change) -> Iterator[str]:
    after = change.after
    for old, new in pairwise(change.run_path):
        if new not in RUN_TRANSITIONS[old]:
            yield f"I5: the run was {old} and became {new}"
    if (after.run in RUN_FINAL) != all(row.view.is_final for row in after.rows):
        yield f"I6: the run is {after.run}, its steps are {[row.view.state for row in after.rows]}"
    if after.run is RunState.SUCCEEDED and any(row.view.state is not StepState.SUCCEEDED for row in after.rows):
        yield "I25: the run SUCCEEDED without all its steps"
    claimed = any(
        new.view.token > old.view.token and new.view.epoch == old.view.epoch
        for old, new in zip(before.rows, after.rows, strict=True)
    )
    if claimed and RunState.CANCELLING in (before.run, after.run):
        yield "I21: a step was leased after the run was cancelled"


def _broken_letters(after: Tables) -> Iterator[str]:
    keys = [(letter.step, letter.epoch) for letter in after.letters]
    if len(set(keys)) != len(keys):
        yield "I18: two dead letters of one epoch"
    present = {(letter.step, letter.epoch) for letter in after.letters if letter.is_open}
    failed = {(step, row.view.epoch) for step, row in enumerate(after.rows) if row.view.state is StepState.FAILED}
    if present != failed:
        yield f"I18: open dead letters {sorted(present)}, failed steps {sorted(failed)}"


def _broken_wins(after: Tables) -> Iterator[str]:
    for step, row in enumerate(after.rows):
        won = [token for other, epoch, token in after.wins if (other, epoch) == (step, row.view.epoch)]
        expected = [row.view.token] if row.view.state is StepState.SUCCEEDED else []
        if won != expected:
            yield f"I7: step {step} is {row.view.state} at token {row.view.token}, accepted under {won}"


def _broken_order(before: Tables, after: Tables, workflow: Workflow) -> Iterator[str]:
    for step, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        if new.view.token > old.view.token:
            waits = [n for n in workflow.steps[step].needs if after.rows[n].view.state is not StepState.SUCCEEDED]
            if waits:
                yield f"I14: step {step} was leased before steps {waits} had succeeded"


def broken_by_verdict(
    before: Tables, after: Tables, executor: int, lease: Grant, result: Result, verdict: Verdict
) -> str | None:
    """What is told about a report must be true, and a report without a lease must change nothing."""
    row = before.rows[lease.step]
    if not row.is_leased_by(executor, lease.token) and (verdict is Verdict.ACCEPTED or after != before):
        return "I9: a report without a good lease was accepted"
    stored = after.rows[lease.step]
    if verdict is not Verdict.STALE_LEASE and stored.taken != (lease.token, result):
        return f"I1: told {verdict}, but the result is not stored"
    if row.taken == (lease.token, result) and verdict is not Verdict.ALREADY_ACCEPTED:
        return f"I7: the report was accepted, but whoever asks again is told {verdict}"
    return None


def broken_by_grants(after: Tables, executor: int, grants: tuple[Grant, ...]) -> str | None:
    """A lease that is told must have been committed to whom it is told."""
    for grant in grants:
        if not after.rows[grant.step].is_leased_by(executor, grant.token):
            return f"I12: told a lease of step {grant.step} that is not committed"
    return None
