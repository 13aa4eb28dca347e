"""Every run was started by exactly one thing, and that thing started no other run."""

from __future__ import annotations

from collections.abc import Iterator

from taskforge.invariants.rows import History, Violation, grouped

#: Causes that happen once. Anybody may start any number of runs by hand: there the cause is a person.
_ONCE = frozenset({"webhook", "schedule"})


def causes_are_unique(history: History) -> Iterator[Violation]:
    """I4: a delivery or a tick is the cause of one run at most, and no run is without a cause."""
    caused = (run for run in history.runs if run.cause_kind in _ONCE and run.cause_id)
    for cause, runs in grouped(caused, lambda r: (r.workflow, r.cause_kind, r.cause_trigger, r.cause_id)).items():
        if len(runs) > 1:
            message = f"{cause[1]} {cause[3]} is the cause of {len(runs)} runs"
            yield Violation(invariant="I4", run_id=runs[1].run_id, message=message)
    for run in history.runs:
        if run.cause_kind in _ONCE and not run.cause_id:
            yield Violation(invariant="I4", run_id=run.run_id, message=f"a {run.cause_kind} run without a cause")


def causes_name_their_runs(history: History) -> Iterator[Violation]:
    """I4: what a run names as its cause exists and names this run."""
    for cause in history.causes:
        if cause.caused != cause.run_id:
            found = f"started {cause.caused}" if cause.caused else "has started nothing, or does not exist"
            yield Violation(invariant="I4", run_id=cause.run_id, message=f"the {cause.kind} that it names {found}")
