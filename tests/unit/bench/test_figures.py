"""What several repetitions say."""

from __future__ import annotations

import math

from tests.bench.figures import combined, p50_p99_ms, percentile, spread


def test_a_spread_is_the_median_between_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 2.00049]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_figures_by_name_stay_by_name() -> None:
    samples = [{"runs_per_s": 1.0, "cpu": {"edge": 2.0}}, {"runs_per_s": 3.0, "cpu": {"edge": 4.0, "gateway": 5.0}}]

    assert combined(samples) == {
        "runs_per_s": {"median": 2.0, "min": 1.0, "max": 3.0},
        "cpu": {
            "edge": {"median": 3.0, "min": 2.0, "max": 4.0},
            "gateway": {"median": 5.0, "min": 5.0, "max": 5.0},
        },
    }


def test_a_percentile_is_one_of_the_values() -> None:
    values = list(range(1, 201))

    assert percentile(values, 50) == 100
    assert percentile(values, 99) == 198
    assert percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))


def test_latencies_are_reported_in_milliseconds() -> None:
    assert p50_p99_ms([0.001, 0.002, 0.003]) == {"p50": 2.0, "p99": 3.0}
