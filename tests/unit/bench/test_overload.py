"""When latency is normal again."""

from __future__ import annotations

import math

from tests.bench.measurements.overload import recovery_seconds

CALM, NORMAL = 1000.0, 0.010


def after(*seconds: float) -> list[tuple[float, float]]:
    """Latencies of runs that were asked for every tenth of a second after the flood."""
    return [(CALM + number / 10, latency) for number, latency in enumerate(seconds)]


def test_what_was_never_slow_needs_no_time() -> None:
    assert recovery_seconds(after(*[NORMAL] * 50), CALM, NORMAL) == 0.0


def test_it_takes_until_the_last_slow_window_is_over() -> None:
    assert recovery_seconds(after(*[0.5] * 12, *[NORMAL] * 40), CALM, NORMAL) == 1.0
    assert recovery_seconds(after(*[0.5] * 13, *[NORMAL] * 40), CALM, NORMAL) == 1.5


def test_one_slow_run_is_not_a_slow_window() -> None:
    assert recovery_seconds(after(*[NORMAL] * 20, 0.5, *[NORMAL] * 20), CALM, NORMAL) == 0.0


def test_a_window_of_refusals_is_slow() -> None:
    assert recovery_seconds(after(*[math.inf] * 5, *[NORMAL] * 40), CALM, NORMAL) == 0.5
