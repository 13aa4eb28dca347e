"""`hop`, `chain`, `ten`: as many runs as the system finishes, and what each of them costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import meters
from tests.bench.figures import combined, p50_p99_ms
from tests.bench.lines import Line, open_lines, start_of
from tests.bench.load import Reply, as_fast_as_answered
from tests.bench.meters import Usage
from tests.bench.options import Options
from tests.bench.runs import all_ended, apply
from tests.bench.systems import System
from tests.bench.target import Target
from tests.bench.workloads import Workload

_WARM_UP_RUNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one repetition gave."""

    replies: Sequence[Reply]
    began: float
    ended: float  #: when the last run had
    used: Usage
    load_cpu_seconds: float
    target_cpu_seconds: float

    def figures(self) -> dict[str, Any]:
        """What is reported of it."""
        runs = len(self.replies)
        by_process = {name: 1000 * seconds / runs for name, seconds in self.used.cpu_seconds.items()}
        return {
            "runs_per_s": runs / (self.ended - self.began),
            "acks_per_s": runs / (max(reply.answered for reply in self.replies) - self.began),
            "ack_ms": p50_p99_ms(reply.answered - reply.asked for reply in self.replies),
            "cpu_ms_per_run": sum(by_process.values()),
            "cpu_ms_per_run_by_process": by_process,
            "write_transactions_per_run": self.used.writes / runs,
            "wal_bytes_per_run": self.used.wal_bytes / runs,
            # Not in the figures above: what it took to ask for all this, and to answer the steps.
            "load_cpu_ms_per_run": 1000 * self.load_cpu_seconds / runs,
            "target_cpu_ms_per_run": 1000 * self.target_cpu_seconds / runs,
        }


async def throughput(system: System, server: Target, workload: Workload, options: Options) -> dict[str, Any]:
    """Measure a workload."""
    await apply(system, workload.source(server.url))
    samples = []
    async with open_lines(system, options.via) as lines:
        start = start_of(system, workload.workflow, options.via)
        await as_fast_as_answered(lines, [start] * min(_WARM_UP_RUNS, options.runs))
        await all_ended(system, workload.workflow)
        counted = await meters.count(system) if options.counts else None
        for _ in range(options.repeat):
            figures = (await measure(system, server, workload, lines, [start] * options.runs)).figures()
            if counted is not None:
                before, counted = counted, await meters.count(system)
                figures["commits_per_run"] = (counted.commits - before.commits) / options.runs
                figures["fsyncs_per_run"] = (counted.fsyncs - before.fsyncs) / options.runs
            samples.append(figures)
    return {"runs": options.runs, "via": options.via, **combined(samples)}


async def measure(
    system: System, server: Target, workload: Workload, lines: Sequence[Line], starts: Sequence[Any]
) -> Sample:
    """Run one repetition. The system is at rest before and after.

    Raises:
        AssertionError: not every run succeeded, or the target was not called as often as it should have been.
    """
    before, hits = await meters.read(system), server.count()
    own, target = time.process_time(), server.cpu_seconds()
    began = time.time()
    replies = await as_fast_as_answered(lines, starts)
    own = time.process_time() - own
    row = await all_ended(system, workload.workflow, began)
    used = (await meters.read(system)).since(before)
    assert row["succeeded"] == len(starts), f"{row['succeeded']} of {len(starts)} runs succeeded"
    # What the database calls done must have been asked for, and nothing else.
    assert server.count() - hits == len(starts) * workload.requests, "the target was called another number of times"
    return Sample(
        replies=replies,
        began=began,
        ended=row["last_end"],
        used=used,
        load_cpu_seconds=own,
        target_cpu_seconds=server.cpu_seconds() - target,
    )
