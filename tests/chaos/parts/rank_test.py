"""Whether two samples come from one distribution: the test of Mann and Whitney, with the normal approximation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def p_value(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sided probability of ranks this unequal if both came from the same distribution."""
    count, others = len(one), len(other)
    ranks = _ranks([*one, *other])
    wins = sum(ranks[:count]) - count * (count + 1) / 2
    total = count + others
    ties = sum(size**3 - size for size in Counter([*one, *other]).values())
    variance = count * others / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = (abs(wins - count * others / 2) - 0.5) / math.sqrt(variance)
    return math.erfc(max(z, 0.0) / math.sqrt(2))


def _ranks(values: Sequence[float]) -> list[float]:
    """Each value's place in order; equal values share theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + 1 + end) / 2
        start = end
    return ranks
