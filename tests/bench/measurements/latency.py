"""`latency`: how long one run takes on an idle system, and how that changes with the load up to too much of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from tests.bench.arrivals import Arrivals, arrivals
from tests.bench.figures import combined, p50_p99_ms
from tests.bench.lines import Line, open_lines, start_of
from tests.bench.load import Reply, as_fast_as_answered, at_rate
from tests.bench.options import Options
from tests.bench.runs import all_ended, apply, run_of, ways_to_end
from tests.bench.systems import System
from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS, Workload
from tests.support.waiting import eventually

_STARTS = 200
_WARM_UP = 30
_PAUSE_SECONDS = 0.02, 0.08
_LOOK_SECONDS = 0.001
_ENDED = "SELECT 1 FROM runs WHERE run_id = $1 AND ended_at IS NOT NULL"
#: Percent of what the system can finish.
LOADS = (10, 25, 50, 65, 80, 95)
_LOAD_SECONDS = 6.0
_LINES = 256


async def latency(system: System, server: Target, maximum: float, options: Options) -> dict[str, Any]:
    """Measure on an idle system, then at parts of the maximum of chain runs a second."""
    idle = {name: await _idle(system, WORKLOADS[name], options) for name in ("hop", "chain")}
    return {
        "starts": _STARTS,
        "idle": idle,
        "maximum_runs_per_s": round(maximum, 1),
        "load": await _at_loads(system, server, maximum, options),
    }


# --- one run at a time ---------------------------------------------------------------------------


async def _idle(system: System, workload: Workload, options: Options) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        noted = await stack.enter_async_context(arrivals())
        [line] = await stack.enter_async_context(open_lines(system, count=1))
        connection = await stack.enter_async_context(system.database())
        ended = await connection.prepare(_ENDED)
        await apply(system, workload.source(noted.url))
        start = start_of(system, workload.workflow)
        for _ in range(_WARM_UP):
            await _one(line, start, noted, ended)
        return combined([await _starts(line, start, noted, ended) for _ in range(options.repeat)])


async def _starts(line: Line, start: bytes, noted: Arrivals, ended: Any) -> dict[str, Any]:
    times = [await _one(line, start, noted, ended) for _ in range(_STARTS)]
    acks, firsts, dones = zip(*times, strict=True)
    return {"ack_ms": p50_p99_ms(acks), "first_request_ms": p50_p99_ms(firsts), "done_ms": p50_p99_ms(dones)}


async def _one(line: Line, start: bytes, noted: Arrivals, ended: Any) -> tuple[float, float, float]:
    """Seconds until the answer, until the first request at the target, and until everybody can see the run's end."""
    await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
    noted.at.clear()
    [reply] = await as_fast_as_answered([line], [start])
    run = run_of(reply)

    async def has_ended() -> None:
        assert noted.at  # a system that has not come this far is not asked
        assert await ended.fetchval(run)

    await eventually(has_ended, pause=_LOOK_SECONDS)
    return reply.answered - reply.asked, noted.at[0] - reply.asked, time.time() - reply.asked


# --- under load ----------------------------------------------------------------------------------


async def _at_loads(system: System, server: Target, maximum: float, options: Options) -> dict[str, Any]:
    chain = WORKLOADS["chain"]
    await apply(system, chain.source(server.url))
    start = start_of(system, chain.workflow)
    found = {}
    async with open_lines(system, count=_LINES) as lines:
        for percent in LOADS:
            rate = maximum * percent / 100
            samples = [await _at_load(system, lines, start, rate) for _ in range(options.repeat)]
            found[str(percent)] = {"offered_per_s": round(rate, 1), **combined(samples)}
    return found


async def _at_load(system: System, lines: Sequence[Line], start: bytes, rate: float) -> dict[str, Any]:
    workflow = WORKLOADS["chain"].workflow
    began = time.time()
    replies = await at_rate(lines, [start] * round(rate * _LOAD_SECONDS), rate)
    row = await all_ended(system, workflow, began)
    wrong = [reply.answer for reply in replies if reply.answer.status != 200]
    assert not wrong, f"{len(wrong)} of {len(replies)} starts were refused: {wrong[0]}"
    return {
        "runs_per_s": len(replies) / (row["last_end"] - began),
        **latencies(replies, await ways_to_end(system, workflow, replies, began)),
    }


def latencies(replies: Sequence[Reply], ended: Sequence[tuple[Reply, float]]) -> dict[str, Any]:
    """From when a request should have been sent, however busy the sender was."""
    return {
        "ack_ms": p50_p99_ms(reply.answered - reply.asked for reply in replies),
        "done_ms": p50_p99_ms(end - reply.asked for reply, end in ended),
    }
