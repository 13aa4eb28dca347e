"""`overload`: three times more starts than the system can finish. It must say so, lose nothing, and come back."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.bench.figures import combined, p50_p99_ms
from tests.bench.lines import open_lines, start_of
from tests.bench.load import Reply, at_rate
from tests.bench.measurements.latency import latencies
from tests.bench.options import Options
from tests.bench.runs import all_ended, apply, ways_to_end
from tests.bench.systems import System
from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS

_TIMES = 3.0
_OVERLOAD_SECONDS = 8.0
_USUAL_PART = 0.5  #: of the maximum, before and after
_BEFORE_SECONDS, _AFTER_SECONDS = 4.0, 12.0
_PATIENCE_SECONDS = 1.0
_LINES = 512
_WINDOW_SECONDS = 0.5
_NORMAL = 2.0  #: latency is normal again when it is at most so many times what it was
_OK, _SHED, _GAVE_UP = 200, 429, 0


async def overload(system: System, server: Target, maximum: float, options: Options) -> dict[str, Any]:
    """Measure on a system that lets only as many steps wait as it finishes in about a second."""
    chain = WORKLOADS["chain"]
    await apply(system, chain.source(server.url))
    samples = [await _repetition(system, maximum) for _ in range(options.repeat)]
    return {"offered_per_s": round(_TIMES * maximum, 1), "seconds": _OVERLOAD_SECONDS, **combined(samples)}


async def _repetition(system: System, maximum: float) -> dict[str, Any]:
    """A steady load that the system can bear, and a flood that comes on top of it for a while."""
    workflow = WORKLOADS["chain"].workflow
    start = start_of(system, workflow)
    usual, more = maximum * _USUAL_PART, maximum * (_TIMES - _USUAL_PART)
    seconds = _BEFORE_SECONDS + _OVERLOAD_SECONDS + _AFTER_SECONDS
    async with open_lines(system, count=_LINES) as lines, open_lines(system, count=_LINES) as more_lines:
        began = time.time()
        steady = asyncio.create_task(
            at_rate(lines, [start] * round(usual * seconds), usual, patience=_PATIENCE_SECONDS)
        )
        await asyncio.sleep(_BEFORE_SECONDS)
        flooded = time.time()
        calm = flooded + _OVERLOAD_SECONDS
        flood = await at_rate(more_lines, [start] * round(more * _OVERLOAD_SECONDS), more, patience=_PATIENCE_SECONDS)
        replies = [*await steady, *flood]
    await all_ended(system, workflow, began)
    ends = await ways_to_end(system, workflow, replies, began)
    return _figures(replies, ends, flooded, calm)


def _figures(
    replies: Sequence[Reply], ends: Sequence[tuple[Reply, float]], flooded: float, calm: float
) -> dict[str, Any]:
    during = [(reply, end) for reply, end in ends if flooded <= reply.asked < calm]
    before = [end - reply.asked for reply, end in ends if reply.asked < flooded]
    refused = [(reply.asked, math.inf) for reply in replies if reply.answer.status != _OK]
    after = [*refused, *((reply.asked, end - reply.asked) for reply, end in ends)]
    return {
        **_answers([reply for reply in replies if flooded <= reply.asked < calm]),
        "runs_per_s": sum(flooded <= end < calm for _, end in ends) / _OVERLOAD_SECONDS,
        "done_ms_before": p50_p99_ms(before),
        **latencies([reply for reply, _ in during], during),
        "recovery_s": recovery_seconds([way for way in after if way[0] >= calm], calm, statistics.median(before)),
    }


def _answers(replies: Sequence[Reply]) -> dict[str, Any]:
    """What became of the flood.

    Raises:
        AssertionError: something was answered otherwise than by a run or by 429.
    """
    counts = Counter(reply.answer.status for reply in replies)
    assert set(counts) <= {_OK, _SHED, _GAVE_UP}, f"the flood was answered with {dict(counts)}"
    shed = [reply.answered - reply.asked for reply in replies if reply.answer.status == _SHED]
    return {
        "acks_per_s": counts[_OK] / _OVERLOAD_SECONDS,
        "shed_per_s": counts[_SHED] / _OVERLOAD_SECONDS,
        "not_sent_per_s": counts[_GAVE_UP] / _OVERLOAD_SECONDS,
        "shed_ms": p50_p99_ms(shed),
    }


def recovery_seconds(latencies: Sequence[tuple[float, float]], calm: float, normal: float) -> float:
    """How long after `calm` every window's median latency is normal again.

    Args:
        latencies: pairs of when a run was asked for and how long it took; infinity if it was refused.
        calm: when the flood was over.
        normal: the median latency before it.
    """
    windows: dict[int, list[float]] = {}
    for asked, seconds in latencies:
        windows.setdefault(int((asked - calm) / _WINDOW_SECONDS), []).append(seconds)
    slow = [number for number, found in windows.items() if statistics.median(found) > _NORMAL * normal]
    return (max(slow) + 1) * _WINDOW_SECONDS if slow else 0.0
