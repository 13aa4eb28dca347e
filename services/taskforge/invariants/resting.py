"""What must have happened by now. These want a system that runs and has been left alone for a while."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from taskforge.domain.states import RUN_FINAL
from taskforge.invariants.history_rules import runs_can_move
from taskforge.invariants.rows import History, Violation


def rests(history: History, *, grace: float) -> Iterator[Violation]:
    """I16: nothing waits for longer than `grace` seconds for something that should have happened."""
    for step in history.steps:
        waits = {"queued": step.queued_for, "expired": step.expired_for, "overdue": step.overdue_for}
        for what, seconds in waits.items():
            if seconds is not None and seconds > grace:
                message = f"{what} for {seconds:.1f} s"
                yield Violation(invariant="I16", run_id=step.run_id, step=step.step, message=message)
    for schedule in history.schedules:
        if schedule.overdue_for is not None and schedule.overdue_for > grace:
            message = f"{schedule.name} has been due for {schedule.overdue_for:.1f} s"
            yield Violation(invariant="I16", message=message)
    yield from runs_can_move(history)


def recovered(history: History, *, by: datetime) -> Iterator[Violation]:
    """I15: every run has ended, at `by` at the latest: when the faults ended, plus recovery and the work left."""
    for run in history.runs:
        if run.state not in RUN_FINAL:
            yield Violation(invariant="I15", run_id=run.run_id, message=f"it is still {run.state}")
        elif run.ended_at is not None and run.ended_at > by:
            late = (run.ended_at - by).total_seconds()
            yield Violation(invariant="I15", run_id=run.run_id, message=f"it ended {late:.1f} s late")
