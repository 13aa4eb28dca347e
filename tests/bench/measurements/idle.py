"""`idle`: what a system takes that does nothing. `coldstart`: how long an initialised one takes until it is ready."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench import meters
from tests.bench.figures import combined
from tests.bench.lines import open_lines, start_of
from tests.bench.load import as_fast_as_answered
from tests.bench.options import Options
from tests.bench.runs import all_ended, apply
from tests.bench.systems import System
from tests.bench.target import Target
from tests.bench.workloads import WORKLOADS
from tests.support.stack import OwnStack

_RUNS_BEFORE = 100  #: so that everything that is loaded late has been
_QUIET_SECONDS = 20.0
_SECONDS = 30.0
_MEGABYTE = 1024 * 1024


async def idle(system: System, server: Target, options: Options) -> dict[str, Any]:
    """Measure memory and processor time at rest."""
    chain = WORKLOADS["chain"]
    await apply(system, chain.source(server.url))
    async with open_lines(system) as lines:
        await as_fast_as_answered(lines, [start_of(system, chain.workflow)] * _RUNS_BEFORE)
    await all_ended(system, chain.workflow)
    await asyncio.sleep(_QUIET_SECONDS)
    return combined([await _at_rest(system) for _ in range(options.repeat)])


async def _at_rest(system: System) -> dict[str, Any]:
    memory = {name: value / _MEGABYTE for name, value in meters.memory_bytes(system).items()}
    before, began = meters.cpu_seconds(system.members()), time.monotonic()
    await asyncio.sleep(_SECONDS)
    seconds, after = time.monotonic() - began, meters.cpu_seconds(system.members())
    cpu = {name: 100 * used / seconds for name, used in meters.since(before, after).items()}
    return {
        "memory_mb": sum(memory.values()),
        "memory_mb_by_process": memory,
        "cpu_percent": sum(cpu.values()),
        "cpu_percent_by_process": cpu,
    }


def coldstart(stack: OwnStack, options: Options) -> dict[str, Any]:
    """Measure `taskforge up`, as somebody types it."""
    samples = []
    for _ in range(options.repeat):
        stack.cli("down")
        began = time.monotonic()
        stack.cli("up")
        samples.append({"up_s": time.monotonic() - began})
    return combined(samples)
