"""How figures are written."""

from __future__ import annotations

import pytest

from tests.bench.report.goals import Goal
from tests.bench.report.plots import decades, steps
from tests.bench.report.tables import by_role, number, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (100.0, "100"), (99.94, "99.9"), (2.0, "2"), (0.204, "0.204"), (0.0049, "0"), (0.0, "0")],
)
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert number(value) == text


def test_a_median_is_shown_between_its_bounds_if_they_differ() -> None:
    assert shown({"median": 2.0, "min": 1.0, "max": 3.0}, " ms") == "2 ms (1 to 3)"
    assert shown({"median": 2.0, "min": 2.0, "max": 2.0}, " ms") == "2 ms"


def test_executors_are_one_role_and_what_costs_nothing_is_left_out() -> None:
    spreads = {
        "executor-1": {"median": 0.5},
        "executor-2": {"median": 0.25},
        "valkey": {"median": 0.001},
        "edge": {"median": 0.3},
        "novelty": {"median": 1.0},
    }
    assert by_role(spreads) == {"edge": 0.3, "executor": 0.75, "novelty": 1.0}


@pytest.mark.parametrize(("value", "verdict"), [(2000, "aim"), (1999, "must"), (1000, "must"), (999, "no")])
def test_more_is_better_where_the_aim_is_above_the_must(value: float, verdict: str) -> None:
    goal = Goal(name="runs/s", path=(), must=1000, aim=2000)

    assert (goal.sign, goal.verdict(value)) == ("≥", verdict)


@pytest.mark.parametrize(("value", "verdict"), [(8, "aim"), (8.1, "must"), (18, "must"), (18.1, "no")])
def test_less_is_better_where_the_aim_is_below_the_must(value: float, verdict: str) -> None:
    goal = Goal(name="latency", path=(), must=18, aim=8)

    assert (goal.sign, goal.verdict(value)) == ("≤", verdict)


@pytest.mark.parametrize("highest", [0.7, 1.0, 3.2, 9.9, 350.0, 1400.0, 99_999.0])
def test_ticks_reach_beyond_the_highest_value(highest: float) -> None:
    ticks = steps(highest)

    assert ticks[0] == 0
    assert ticks[-2] < highest <= ticks[-1]
    assert 4 <= len(ticks) <= 9


def test_ticks_of_a_logarithmic_scale_enclose_all_values() -> None:
    assert decades(2.0, 450.0) == [1, 3, 10, 30, 100, 300, 1000]
    assert decades(10.0, 10.0) == [10]
