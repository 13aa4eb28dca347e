"""Scenarios with a sandbox: run one, watch its workers, leave none behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psutil

from taskforge.domain.workflow import JsonValue
from taskforge.sandbox.pool import SandboxPool
from taskforge.sandbox.requests import CelRequest, JqRequest, Result
from tests.support.waiting import eventually

ENDLESS = "def f: f; f"
LONG = "reduce range(2500000) as $i (0; . + 1)"  # a second or more: time enough to interfere
LONG_RESULT = 2500000


def run_with_pool(
    scenario: Callable[[SandboxPool], Awaitable[None]], *, size: int = 2, max_waiting: int = 1000
) -> None:
    """Run a scenario with a pool, then make sure that the pool left no process behind."""
    before = children()

    async def main() -> None:
        async with SandboxPool(size=size, max_waiting=max_waiting) as pool:
            await scenario(pool)

    asyncio.run(main())
    assert children() == before


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def jq(pool: SandboxPool, program: str, value: JsonValue = None, timeout: float = 20.0) -> Result:
    return await pool.evaluate(JqRequest(program=program, input=value), timeout)


async def evaluate_cel(pool: SandboxPool, expression: str, timeout: float = 60.0) -> Result:
    return await pool.evaluate(CelRequest(expression=expression, context={}), timeout)


async def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    def holds() -> None:
        assert condition()

    await eventually(holds, within=within)


def burns_cpu(pid: int) -> bool:
    """A worker starts with less than this much CPU time, so one with more is in the middle of a program."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return False
    return bool(times.user + times.system > 0.3)


async def busy_worker(pool: SandboxPool) -> int:
    await until(lambda: any(map(burns_cpu, pool.worker_pids)))
    return next(filter(burns_cpu, pool.worker_pids))


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
