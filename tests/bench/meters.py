"""What a system has used so far: processor time of every process, and what the database wrote."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from taskforge_cli.stack import processes
from tests.bench.systems import Member, System

_WRITTEN = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS writes
"""
_COUNTED = """
SELECT xact_commit AS commits, (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal')::bigint AS fsyncs
FROM pg_stat_database WHERE datname = current_database()
"""
#: A PostgreSQL backend that has come to rest reports its statistics after ten seconds.
_REPORTED_SECONDS = 10.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the database wrote. The counters only grow, and are exact at any moment."""

    wal_bytes: int
    transactions: int  #: that wrote something

    def since(self, before: Written) -> Written:
        """What was written in between."""
        return Written(
            wal_bytes=self.wal_bytes - before.wal_bytes, transactions=self.transactions - before.transactions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What PostgreSQL reports only when its backends rest."""

    commits: int  #: also of transactions that only read
    fsyncs: int  #: of the write-ahead log


async def written(system: System) -> Written:
    """Read the exact counters."""
    async with system.database() as connection:
        row = await connection.fetchrow(_WRITTEN)
    return Written(wal_bytes=row["wal"], transactions=row["writes"])


async def count(system: System) -> Counts:
    """Read the late meters. It takes ten seconds, in which nobody else should do anything."""
    await asyncio.sleep(_REPORTED_SECONDS)
    async with system.database() as connection:
        row = await connection.fetchrow(_COUNTED)
    return Counts(commits=row["commits"], fsyncs=row["fsyncs"])


def cpu_seconds(members: Iterable[Member]) -> dict[str, float]:
    """Processor time by process; children that have ended are in their parent's."""
    used: defaultdict[str, float] = defaultdict(float)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            used[member.name] += sum(psutil.Process(member.pid).cpu_times()[:4])
    return dict(used)


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each process used in between."""
    return {name: used - before.get(name, 0.0) for name, used in after.items()}


def memory_bytes(system: System) -> dict[str, float]:
    """Memory by process: each one's fair share of the pages that it shares (PSS)."""
    used: defaultdict[str, float] = defaultdict(float)
    for member in system.members():
        used[member.name] += processes.memory(member.pid)
    return dict(used)
