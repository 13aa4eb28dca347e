"""The state machines, as a whole: what is final, what can be reached, and how a final state is left."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import pytest

from taskforge.domain.states import RUN_FINAL, RUN_TRANSITIONS, STEP_FINAL, STEP_TRANSITIONS, RunState, StepState

State = TypeVar("State", bound=StrEnum)


def reached_from(start: State, transitions: Mapping[State, frozenset[State]]) -> set[State]:
    found = {start}
    work = [start]
    while work:
        for state in transitions[work.pop()] - found:
            found.add(state)
            work.append(state)
    return found


@pytest.mark.parametrize(
    ("start", "transitions", "states"),
    [
        (RunState.QUEUED, RUN_TRANSITIONS, RunState),
        (StepState.PENDING, STEP_TRANSITIONS, StepState),
    ],
    ids=["runs", "steps"],
)
def test_every_state_can_be_reached(
    start: StrEnum, transitions: Mapping[StrEnum, frozenset[StrEnum]], states: type[StrEnum]
) -> None:
    assert reached_from(start, transitions) == set(states)


def test_only_failed_and_cancelled_are_ever_left_again() -> None:
    assert {state for state in RUN_FINAL if RUN_TRANSITIONS[state]} == {RunState.FAILED, RunState.CANCELLED}
    assert {state for state in STEP_FINAL if STEP_TRANSITIONS[state]} == {StepState.FAILED, StepState.CANCELLED}


def test_a_redrive_leads_back_to_where_work_is_waiting_or_skips_it_at_once() -> None:
    assert {target for state in RUN_FINAL for target in RUN_TRANSITIONS[state]} == {RunState.RUNNING}
    redriven = {target for state in STEP_FINAL for target in STEP_TRANSITIONS[state]}
    assert redriven == {StepState.QUEUED, StepState.PENDING, StepState.SKIPPED}


def test_every_state_that_is_not_final_can_end() -> None:
    for state in set(RunState) - RUN_FINAL:
        assert reached_from(state, RUN_TRANSITIONS) & RUN_FINAL
    for step in set(StepState) - STEP_FINAL:
        assert reached_from(step, STEP_TRANSITIONS) & STEP_FINAL


def test_whatever_waits_can_be_cancelled() -> None:
    waiting = set(StepState) - STEP_FINAL
    assert all(StepState.CANCELLED in STEP_TRANSITIONS[state] for state in waiting)
