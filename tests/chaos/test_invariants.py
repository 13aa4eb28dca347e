"""A checker that has never failed proves nothing: each seeded bug is seen, and each rule sees at least one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskforge.invariants.check import DATABASE_RULES, OUTSIDE_RULES, OutsideRule, Rule, check
from taskforge.invariants.resting import recovered, rests
from taskforge.invariants.rows import Fault, History, Outside, ScheduleRow, StepRow, Violation
from tests.chaos.healthy import END, FAILED, HEALTHY, OUTSIDE, RUN, SCHEDULE, SENT, line, op
from tests.chaos.seeds import NAMED, SEEDS

_RULES: tuple[Rule | OutsideRule, ...] = (*DATABASE_RULES, *OUTSIDE_RULES)
_IDS = re.compile(r"\AI\d+(?=: )")


def _found(rule: Rule | OutsideRule, history: History, outside: Outside) -> list[Violation]:
    found: Iterable[Violation] = (
        rule(history) if rule in DATABASE_RULES else rule(history, outside)  # type: ignore[call-arg]
    )
    return list(found)


def test_a_history_with_a_takeover_is_healthy() -> None:
    assert check(HEALTHY, OUTSIDE) == []
    assert list(rests(HEALTHY, grace=2.0)) == []
    assert list(recovered(HEALTHY, by=END)) == []


def test_a_history_with_a_failure_is_healthy() -> None:
    assert check(FAILED) == []


def test_a_history_without_anything_optional_is_healthy() -> None:
    """What a reader cannot tell is not held against anybody."""
    bare = History(runs=[replace(HEALTHY.runs[0], pinned_to=None, revision_id=None)], steps=HEALTHY.steps)
    bare = replace(bare, attempts=[replace(one, started_at=None, ended_at=None) for one in HEALTHY.attempts])
    assert check(replace(bare, events=[replace(one, at=None) for one in HEALTHY.events]), Outside()) == []


@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_bug_is_seen(name: str) -> None:
    invariant, history, outside = SEEDS[name]
    assert invariant in {violation.invariant for violation in check(history, outside)}


def test_the_bugs_that_the_checker_is_for_are_among_them() -> None:
    assert set(NAMED) == {
        "a dropped run",
        "a doubled completion",
        "a skipped fence",
        "a terminal state left",
        "a lost tick",
        "a doubled tick",
        "an acknowledged loss",
    }


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule.__name__)
def test_every_rule_can_fail(rule: Rule | OutsideRule) -> None:
    named = _IDS.match(rule.__doc__ or "")
    assert named, "its docstring does not begin with the invariant's id"
    seen = {
        violation.invariant for _, history, outside in SEEDS.values() for violation in _found(rule, history, outside)
    }
    assert seen == {named[0]}


@pytest.mark.parametrize("wait", ["queued_for", "expired_for", "overdue_for"])
def test_a_step_that_nobody_moves_is_seen(wait: str) -> None:
    waits: dict[str, Any] = {wait: 9.0}
    stuck = StepRow(run_id=RUN, step=0, state="QUEUED", epoch=0, lease_token=0, **waits)
    history = History(runs=[replace(HEALTHY.runs[0], state="RUNNING")], steps=[stuck])
    assert [violation.invariant for violation in rests(history, grace=2.0)] == ["I16"]
    assert list(rests(history, grace=10.0)) == []


def test_a_schedule_that_nobody_fires_is_seen() -> None:
    history = History(schedules=[ScheduleRow(trigger_id=SCHEDULE, name="demo/each", overdue_for=9.0)])
    assert [violation.invariant for violation in rests(history, grace=2.0)] == ["I16"]


def test_a_run_that_did_not_recover_in_time_is_seen() -> None:
    late = recovered(HEALTHY, by=END - timedelta(seconds=1))
    never = recovered(replace(HEALTHY, runs=[replace(HEALTHY.runs[0], state="RUNNING", ended_at=None)]), by=END)
    assert [violation.invariant for violation in (*late, *never)] == ["I15", "I15"]


def test_a_request_that_was_refused_before_it_was_confirmed_may_have_made_a_run() -> None:
    ops = [op("invoke"), op("fail", status="429"), op("invoke", at=1), op("unknown", at=2), *OUTSIDE.ops]
    assert check(HEALTHY, replace(OUTSIDE, ops=ops)) == []


def test_a_run_that_is_read_before_its_start_was_confirmed_may_be_missing() -> None:
    asked = [op("invoke", "read", at=0.5, run_id=RUN, process=1)]
    told = [op("fail", "read", at=1.5, run_id=RUN, status="404", process=1)]
    assert check(HEALTHY, replace(OUTSIDE, ops=[*asked, *OUTSIDE.ops, *told])) == []


def test_a_request_that_was_under_way_at_the_end_is_forgiven() -> None:
    outside = replace(OUTSIDE, ledger=[line(1), line(2, at=END.timestamp() + 0.5)], request_seconds=1.0)
    assert check(HEALTHY, outside) == []


def test_a_message_names_the_faults_of_the_time() -> None:
    faults = [
        Fault(what="kill", target="executor-1", at=SENT - 1, until=SENT + 1),
        Fault(what="cut", target="postgres", at=SENT + 10, until=SENT + 11),
    ]
    [found] = check(HEALTHY, replace(OUTSIDE, ledger=[line(1), line(2), line(2)], faults=faults))[:1]
    assert found.message == "attempts [2] were sent more than once (meanwhile: kill executor-1)"


def test_times_are_not_compared_when_the_database_s_clock_went_back() -> None:
    overlapping = [replace(HEALTHY.attempts[0], ended_at=END), *HEALTHY.attempts[1:]]
    back = [*HEALTHY.events[:4], replace(HEALTHY.events[4], at=END), *HEALTHY.events[5:]]
    assert check(replace(HEALTHY, attempts=overlapping, events=back)) == []
