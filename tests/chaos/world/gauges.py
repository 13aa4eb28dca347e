"""What must not grow: memory and open files of processes, pending hints, dead rows."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
from redis.exceptions import ResponseError

from taskforge.bus.streams import HINT_STREAM
from tests.chaos.world.world import World

_MEGABYTE = 1024 * 1024
_DEAD_ROWS = "SELECT coalesce(sum(n_dead_tup), 0)::float8 FROM pg_stat_user_tables"


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at everything. `at` is in seconds; processes are told apart by name and id."""

    at: float
    values: Mapping[str, float]


class Gauges:
    """Readings over time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.readings: list[Reading] = []

    async def read(self) -> None:
        """Look once."""
        values: dict[str, float] = {}
        for name, pid in self._world.pids().items():
            if name in self._world.wiring.names():
                values |= _process(name, pid)
        async with self._world.database() as connection:
            values["dead rows"] = await connection.fetchval(_DEAD_ROWS)
        if self._world.valkey is not None:
            values |= await self._hints()
        self.readings.append(Reading(time.monotonic(), values))

    def slopes(self, *, settle: float, least: float) -> dict[str, float]:
        """Growth an hour of each gauge that was read for `least` seconds after its first `settle` seconds."""
        series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for reading in self.readings:
            for name, value in reading.values.items():
                series[name].append((reading.at, value))
        found = {}
        for name, points in series.items():
            late = [point for point in points if point[0] - points[0][0] >= settle]
            if len(late) >= 3 and late[-1][0] - late[0][0] >= least:
                found[name] = 3600 * _slope(late)
        return found

    def last(self, name: str) -> float:
        """The newest value of a gauge."""
        return next((reading.values[name] for reading in reversed(self.readings) if name in reading.values), 0.0)

    async def _hints(self) -> dict[str, float]:
        async with self._world.redis() as redis:
            try:
                groups = await redis.xinfo_groups(HINT_STREAM)
                length = await redis.xlen(HINT_STREAM)
            except (ResponseError, OSError):
                return {}
        pending = sum(group["pending"] for group in groups)
        consumers = sum(group["consumers"] for group in groups)
        return {"pending hints": pending, "consumers": consumers, "stream length": length}


def _process(name: str, pid: int) -> dict[str, float]:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return {
                f"MB of {name} ({pid})": process.memory_info().rss / _MEGABYTE,
                f"files of {name} ({pid})": process.num_fds(),
                f"threads of {name} ({pid})": process.num_threads(),
            }
    except psutil.NoSuchProcess:
        return {}


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Units a second, by the median of all pairs (Theil and Sen): a few outliers do not matter."""
    pairs = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
        if later[0] > earlier[0]
    ]
    return statistics.median(pairs) if pairs else 0.0
