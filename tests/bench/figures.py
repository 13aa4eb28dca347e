"""Figures and what several repetitions of them say. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_DIGITS = 3

#: A figure's value, or figures by name.
Figures = Mapping[str, Any]


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and greatest."""
    found = list(values)
    return {
        "median": round(statistics.median(found), _DIGITS),
        "min": round(min(found), _DIGITS),
        "max": round(max(found), _DIGITS),
    }


def combined(samples: Sequence[Figures]) -> dict[str, Any]:
    """The spread of every figure over the repetitions; figures by name stay so."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    found: dict[str, Any] = {}
    for name in names:
        values = [sample[name] for sample in samples if name in sample]
        found[name] = combined(values) if isinstance(values[0], Mapping) else spread(values)
    return found


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that so many per cent of all do not exceed; nan if there are none."""
    found = sorted(values)
    return found[max(0, math.ceil(len(found) * percent / 100) - 1)] if found else math.nan


def p50_p99_ms(seconds: Iterable[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    found = [1000 * value for value in seconds]
    return {"p50": percentile(found, 50), "p99": percentile(found, 99)}
