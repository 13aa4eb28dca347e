"""`hop`, `chain`, `ten`: as many runs as the system finishes, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.bench import meters
from tests.bench.figures import combined
from tests.bench.lines import Line, open_lines, start_of
from tests.bench.load import as_fast_as_answered
from tests.bench.options import Options
from tests.bench.repetition import WARM_UP_RUNS, work
from tests.bench.runs import all_ended, apply
from tests.bench.systems import System
from tests.bench.target import Target
from tests.bench.workloads import Workload


async def throughput(system: System, server: Target, workload: Workload, options: Options) -> dict[str, Any]:
    """Measure a workload."""
    await apply(system, workload.source(server.url))
    samples = []
    async with open_lines(system, options.via) as lines:
        start = start_of(system, workload.workflow, options.via)
        await as_fast_as_answered(lines, [start] * min(WARM_UP_RUNS, options.runs))
        await all_ended(system, workload.workflow)
        counted = await meters.count(system) if options.counts else None
        for _ in range(options.repeat):
            figures = await measure(system, server, workload, lines, [start] * options.runs)
            if counted is not None:
                before, counted = counted, await meters.count(system)
                figures["commits_per_run"] = (counted.commits - before.commits) / options.runs
                figures["fsyncs_per_run"] = (counted.fsyncs - before.fsyncs) / options.runs
            samples.append(figures)
    return {"runs": options.runs, "via": options.via, **combined(samples)}


async def measure(
    system: System, server: Target, workload: Workload, lines: Sequence[Line], starts: Sequence[Any]
) -> dict[str, Any]:
    """The figures of one repetition.

    Raises:
        AssertionError: not every run succeeded, or the target was not called as often as it should have been.
    """

    async def last_end(since: float) -> float:
        row = await all_ended(system, workload.workflow, since)
        assert row["succeeded"] == len(starts), f"{row['succeeded']} of {len(starts)} runs succeeded"
        return float(row["last_end"])

    before = await meters.written(system)
    found = await work(workload, server, lines, starts, members=system.members, last_end=last_end)
    written = (await meters.written(system)).since(before)
    return {
        **found.figures(),
        "write_transactions_per_run": written.transactions / len(starts),
        "wal_bytes_per_run": written.wal_bytes / len(starts),
    }
