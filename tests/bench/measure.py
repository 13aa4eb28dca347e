"""One repetition of a workload: starts, waits until the last run is durably finished, and reads the meters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import meters, target
from tests.bench.load import Submit, submit_all
from tests.bench.meters import Usage
from tests.bench.workloads import Workload
from tests.support.servers import ServerProcess
from tests.support.stack import OwnStack
from tests.support.waiting import eventually

_POLL_SECONDS = 0.25
_LONGEST_SECONDS = 600.0
_ENDED = """
SELECT count(*) FILTER (WHERE ended_at IS NULL) AS unfinished, count(*) FILTER (WHERE state = 'SUCCEEDED') AS succeeded,
       extract(epoch FROM max(ended_at))::float8 AS last_end
FROM runs WHERE workflow = $1 AND created_at >= to_timestamp($2)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one repetition gave."""

    runs: int
    seconds: float  #: from the first submission to the last run's end
    accept_seconds: float  #: from the first submission to the last acknowledgement
    used: Usage

    def figures(self) -> dict[str, float]:
        """The figures that are reported."""
        per_process = {
            f"cpu_ms_per_run.{name}": seconds * 1000 / self.runs for name, seconds in self.used.cpu_seconds.items()
        }
        return {
            "runs_per_second": self.runs / self.seconds,
            "accepted_per_second": self.runs / self.accept_seconds,
            "cpu_ms_per_run": sum(per_process.values()),
            "write_transactions_per_run": self.used.writes / self.runs,
            "wal_bytes_per_run": self.used.wal_bytes / self.runs,
            **per_process,
        }


async def measure(
    stack: OwnStack, server: ServerProcess, workload: Workload, made: Sequence[Submit], runs: int
) -> Sample:
    """Run one repetition. The system is at rest before and after.

    Raises:
        AssertionError: not every run succeeded, or the target was not called as often as it should have been.
    """
    await _finished(stack, workload, 0.0)
    before, hits = await meters.read(stack), target.count(server)
    began = time.time()
    await submit_all(made, runs)
    accepted = time.time()
    row = await _finished(stack, workload, began)
    used = (await meters.read(stack)).since(before)
    assert row["succeeded"] == runs, f"{row['succeeded']} of {runs} runs succeeded"
    # What the database calls done must have been asked for, and nothing else.
    assert target.count(server) - hits == runs * workload.requests, "the target was called another number of times"
    return Sample(runs=runs, seconds=row["last_end"] - began, accept_seconds=accepted - began, used=used)


async def _finished(stack: OwnStack, workload: Workload, since: float) -> Any:
    """Wait until no run is unfinished. The database and this process share a clock, so its end times can be used."""
    async with stack.database() as connection:

        async def assertion() -> Any:
            row = await connection.fetchrow(_ENDED, workload.workflow, since)
            assert row["unfinished"] == 0, f"{row['unfinished']} runs are unfinished"
            return row

        return await eventually(assertion, within=_LONGEST_SECONDS, pause=_POLL_SECONDS)
