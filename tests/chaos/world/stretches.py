"""Figures of a load for a stretch of time: how fast it was answered, how soon it began, how much of it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.chaos.world.load import Load

_WAITS = """
SELECT extract(epoch FROM s.first_started_at - r.created_at)::float8 AS seconds
FROM runs r JOIN steps s USING (run_id)
WHERE r.workflow = $1 AND s.step = 0 AND s.first_started_at IS NOT NULL AND r.created_at BETWEEN $2 AND $3
"""
_ENDED = "SELECT count(*) FROM runs WHERE workflow = $1 AND ended_at BETWEEN $2 AND $3"
_STARTS = ("start", "deliver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From when to when, on the machine's clock."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.until - self.since).total_seconds()


class Watch:
    """Measures a stretch: `Watch().stop()`."""

    def __init__(self) -> None:
        self._since = datetime.now(UTC)

    def stop(self) -> Stretch:
        """The stretch from when the watch was made."""
        return Stretch(since=self._since, until=datetime.now(UTC))


async def leave_alone(seconds: float) -> Stretch:
    """Let a world run as it is, for the length of a fault or of a stretch to compare with."""
    watch = Watch()
    await asyncio.sleep(seconds)
    return watch.stop()


async def start_waits(load: Load, stretches: Sequence[Stretch]) -> list[float]:
    """Seconds from the row of a run to its first step, of runs made in those stretches. Read it after their end."""
    async with load.world.database() as connection:
        found = [await connection.fetch(_WAITS, load.name, each.since, each.until) for each in stretches]
    return [row["seconds"] for rows in found for row in rows]


async def ended_a_second(load: Load, stretches: Sequence[Stretch]) -> float:
    """Runs that ended a second in those stretches together."""
    async with load.world.database() as connection:
        counts = [await connection.fetchval(_ENDED, load.name, each.since, each.until) for each in stretches]
    return float(sum(counts) / max(0.001, sum(each.seconds for each in stretches)))


def answer_seconds(load: Load, stretches: Sequence[Stretch], *, answered_within: bool = False) -> list[float]:
    """How long each try to start a run took that was begun in those stretches, whatever its answer.

    `answered_within` leaves out what was answered later, under the fault that came next.
    """
    asked: dict[int, float] = {}
    found = []
    for op in load.driver.ops:
        if op.action not in _STARTS:
            continue
        if op.kind == "invoke":
            asked[op.process] = op.at
        elif _are_within(stretches, asked[op.process], *([op.at] if answered_within else [])):
            found.append(op.at - asked[op.process])
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def _are_within(stretches: Sequence[Stretch], *times: float) -> bool:
    return any(all(each.since.timestamp() <= at <= each.until.timestamp() for at in times) for each in stretches)
