"""`history`: whether anybody notices that many runs have finished before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from taskforge.v1.run_pb2 import Run
from taskforge.v1.run_service_pb2 import GetRunRequest, ListRunsRequest
from tests.bench.arrivals import Arrivals, arrivals
from tests.bench.figures import combined, p50_p99_ms
from tests.bench.lines import Line, open_lines, start_of
from tests.bench.load import at_rate
from tests.bench.measurements.copies import copy_runs
from tests.bench.options import Options
from tests.bench.runs import all_ended, apply
from tests.bench.systems import System
from tests.support.api import Api

_WORKFLOW, _OLD = "bench-history", "bench-old"
#: Each run's request carries its number, so that many may be on their way.
_SOURCE = """
name: {name}
inputs: {{n: {{type: integer}}}}
steps:
  - id: fetch
    http: {{url: "{target}/item?n=${{{{ inputs.n }}}}"}}
"""
_TEMPLATES = 40
_RATE, _RUNS = 50.0, 600
_LOOKS = 50
_MADE = "SELECT count(*) FROM runs WHERE workflow = $1"
_ANY_OLD = "SELECT run_id FROM runs WHERE workflow = $1 ORDER BY run_id OFFSET $2 LIMIT 1"


async def history(system: System, options: Options) -> dict[str, Any]:
    """Measure without a history, make one, and measure again."""
    async with arrivals() as noted, open_lines(system) as lines:
        await apply(system, *(_SOURCE.format(name=name, target=noted.url) for name in (_WORKFLOW, _OLD)))
        await _claims(system, lines, noted, _WORKFLOW, _RUNS // 4)
        empty = [await _claims(system, lines, noted, _WORKFLOW, _RUNS) for _ in range(options.repeat)]
        await _claims(system, lines, noted, _OLD, _TEMPLATES)
        began = time.monotonic()
        async with system.database() as connection:
            await copy_runs(connection, _OLD, options.history_runs)
            made = await connection.fetchval(_MADE, _OLD)
        assert made == options.history_runs + _TEMPLATES, f"the history has {made} runs"
        seconds = time.monotonic() - began
        beside = [await _claims(system, lines, noted, _WORKFLOW, _RUNS) for _ in range(options.repeat)]
    slower = [{"p99": then["p99"] / before["p99"]} for then, before in zip(beside, empty, strict=True)]
    return {
        "runs": options.history_runs,
        "made_in_s": round(seconds, 1),
        "first_request_ms": {"empty": combined(empty), "beside": combined(beside), "times_slower": combined(slower)},
        "reads_ms": combined([await _reads(system, options.history_runs)]),
        "retention": None,  # the product has none yet: whole weeks are partitions, which its owner may drop
    }


async def _claims(
    system: System, lines: Sequence[Line], noted: Arrivals, workflow: str, count: int
) -> Mapping[str, float]:
    """How long runs of a gentle, steady load take until their first request."""
    noted.first.clear()
    began = time.time()
    starts = [start_of(system, workflow, inputs={"n": number}) for number in range(count)]
    replies = await at_rate(lines, starts, _RATE)
    assert all(reply.answer.status == 200 for reply in replies)
    await all_ended(system, workflow, began)
    asked = sorted(reply.asked for reply in replies)
    return p50_p99_ms(noted.first[number] - asked[number] for number in range(count))


async def _reads(system: System, history_runs: int) -> dict[str, Any]:
    """What people look at."""
    async with system.database() as connection:
        run = await connection.fetchval(_ANY_OLD, _OLD, history_runs // 2)
    api = Api(system.server, system.token)
    old = f"workflows/{_OLD}"
    lists = {
        "list_newest": ListRunsRequest(),
        "list_of_a_workflow": ListRunsRequest(workflow=old),
        "list_failed": ListRunsRequest(states=[Run.STATE_FAILED]),
        "list_failed_of_a_workflow": ListRunsRequest(states=[Run.STATE_FAILED], workflow=old),
    }
    try:
        found = {
            name: await _looks(lambda request=request: api.call(api.runs.ListRuns, request))  # type: ignore[misc]
            for name, request in lists.items()
        }
        found["show_an_old_run"] = await _looks(lambda: api.call(api.runs.GetRun, GetRunRequest(name=f"runs/{run}")))
    finally:
        await api.close()
    return found


async def _looks(look: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    seconds = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        await look()
        seconds.append(time.perf_counter() - began)
    return p50_p99_ms(seconds)
