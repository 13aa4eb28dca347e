"""One repetition of a workload: what was asked for, when all of it was done, and the processor time that it took."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import meters
from tests.bench.figures import p50_p99_ms
from tests.bench.lines import Line
from tests.bench.load import Reply, as_fast_as_answered
from tests.bench.systems import Member
from tests.bench.target import Target
from tests.bench.workloads import Workload

WARM_UP_RUNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What one gave."""

    replies: Sequence[Reply]
    began: float
    ended: float  #: when the last run had
    cpu_seconds: Mapping[str, float]  #: by process of what is measured
    load_cpu_seconds: float
    target_cpu_seconds: float

    def figures(self) -> dict[str, Any]:
        """What is reported of it."""
        runs = len(self.replies)
        by_process = {name: 1000 * seconds / runs for name, seconds in self.cpu_seconds.items()}
        return {
            "runs_per_s": runs / (self.ended - self.began),
            "acks_per_s": runs / (max(reply.answered for reply in self.replies) - self.began),
            "ack_ms": p50_p99_ms(reply.answered - reply.asked for reply in self.replies),
            "cpu_ms_per_run": sum(by_process.values()),
            "cpu_ms_per_run_by_process": by_process,
            # Not in the figures above: what it took to ask for all this, and to answer the steps.
            "load_cpu_ms_per_run": 1000 * self.load_cpu_seconds / runs,
            "target_cpu_ms_per_run": 1000 * self.target_cpu_seconds / runs,
        }


async def work(
    workload: Workload,
    server: Target,
    lines: Sequence[Line],
    starts: Sequence[Any],
    *,
    members: Callable[[], Iterable[Member]],
    last_end: Callable[[float], Awaitable[float]],
) -> Repetition:
    """Run once. What is measured is at rest before and after.

    Args:
        workload: what each of the starts runs.
        server: what the runs call.
        lines: where the starts are sent.
        starts: one request a run.
        members: names every process of what is measured.
        last_end: waits until all runs since a time have succeeded, and says when the last one had. Times are seconds
            since the epoch.

    Raises:
        AssertionError: not every run succeeded, or the target was not called as often as it should have been.
    """
    before, hits = meters.cpu_seconds(members()), server.count()
    own, target = time.process_time(), server.cpu_seconds()
    began = time.time()
    replies = await as_fast_as_answered(lines, starts)
    own = time.process_time() - own
    ended = await last_end(began)
    used = meters.since(before, meters.cpu_seconds(members()))
    # What the database calls done must have been asked for, and nothing else.
    assert server.count() - hits == len(starts) * workload.requests, "the target was called another number of times"
    return Repetition(
        replies=replies,
        began=began,
        ended=ended,
        cpu_seconds=used,
        load_cpu_seconds=own,
        target_cpu_seconds=server.cpu_seconds() - target,
    )
