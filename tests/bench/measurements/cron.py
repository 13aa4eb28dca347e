"""`cron`: many schedules that are due at the same instant, each of which fires once."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.figures import combined
from tests.bench.options import Options
from tests.bench.runs import apply
from tests.bench.systems import System
from tests.chaos.parts.timetable import ADD_TRIGGERS
from tests.support.waiting import eventually

_WORKFLOW = "bench-cron"
_SOURCE = f"name: {_WORKFLOW}\nsteps: [{{id: note, log: tick}}]\n"
_NEVER = "0 0 1 1 *"  #: a pattern that does not fire by itself meanwhile
_MOVE = "UPDATE schedules SET next_fire_at = $2, updated_at = $2::timestamptz - interval '1 minute' WHERE workflow = $1"
_KNOWN = "SELECT count(*) FROM schedules WHERE workflow = $1"
_FIRED = """
SELECT extract(epoch FROM k.handled_at - k.nominal_at)::float8 AS late
FROM ticks AS k JOIN schedules AS s USING (trigger_id) JOIN runs AS r USING (run_id) WHERE s.workflow = $1
"""
_RUNS = "SELECT count(*) FROM runs WHERE workflow = $1"
_LONGEST_SECONDS = 600.0


async def cron(system: System, options: Options) -> dict[str, Any]:
    """Measure once: the runs that wait afterwards would be in the way of a second time."""
    count = options.schedules
    await apply(system, _SOURCE)
    async with system.database() as connection:
        await connection.execute(ADD_TRIGGERS, _WORKFLOW, _NEVER, count, timeout=300)
        await _reaches(connection, _KNOWN, count)
        due_at = datetime.now(UTC) + timedelta(seconds=3 + count / 20_000)
        await connection.execute(_MOVE, _WORKFLOW, due_at, timeout=300)
        await _reaches(connection, _RUNS, count)
        late = [row["late"] for row in await connection.fetch(_FIRED, _WORKFLOW)]
        runs = await connection.fetchval(_RUNS, _WORKFLOW)
    assert len(late) == runs == count, f"{count} schedules were due; {len(late)} ticks made {runs} runs"
    return {
        "schedules": count,
        **combined([{"all_fired_s": max(late), "half_fired_s": statistics.median(late)}]),
    }


async def _reaches(connection: Any, query: str, count: int) -> None:
    async def assertion() -> None:
        found = await connection.fetchval(query, _WORKFLOW)
        assert found >= count, f"{found} of {count}"

    await eventually(assertion, within=_LONGEST_SECONDS, pause=0.5)
