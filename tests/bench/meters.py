"""What a stack has used so far: processor time of every process, and what the database wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from taskforge_cli.stack import processes
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.home import Home
from tests.support.stack import OwnStack

_WRITTEN = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS writes
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counters that only grow."""

    cpu_seconds: Mapping[str, float]  #: by process; children that have ended are in their parent's
    wal_bytes: int
    writes: int  #: transactions that wrote something

    def since(self, before: Usage) -> Usage:
        """What was used in between."""
        return Usage(
            cpu_seconds={name: used - before.cpu_seconds.get(name, 0.0) for name, used in self.cpu_seconds.items()},
            wal_bytes=self.wal_bytes - before.wal_bytes,
            writes=self.writes - before.writes,
        )


async def read(stack: OwnStack) -> Usage:
    """Read all meters."""
    async with stack.database() as connection:
        row = await connection.fetchrow(_WRITTEN)
    return Usage(cpu_seconds=_cpu_seconds(stack), wal_bytes=row["wal"], writes=row["writes"])


def _cpu_seconds(stack: OwnStack) -> Mapping[str, float]:
    stack_id = str(ConfigFile.read(Home(stack.home).config_file).get("local.id"))
    used: defaultdict[str, float] = defaultdict(float)
    for process in processes.find(stack_id):
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(process.pid).cpu_times()
            used[process.name or "children"] += sum(times[:4])
    return used
