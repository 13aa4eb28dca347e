"""200 runs, one `kill -9`: nothing that was confirmed is lost, nothing is done twice that need not be."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from taskforge.invariants.check import check
from taskforge.invariants.resting import rests
from taskforge.invariants.rows import History, Outside
from tests.chaos.conftest import LEASE_SECONDS
from tests.chaos.driver import Driver, Hook
from tests.chaos.history import count_unfinished, read_history, read_tickets
from tests.chaos.ledger import Ledger
from tests.chaos.world.load import chain
from tests.support.api import Api
from tests.support.stack import OwnStack
from tests.support.waiting import eventually

RUNS = 200
_KILL_AFTER = 60
_AT_ONCE = 8
#: A lease, two sweeps, a restart and the backlog.
_RECOVERY_SECONDS = 60.0
_SECRET = "whsec_" + base64.b64encode(os.urandom(24)).decode()

_WORKLOAD = chain(delay=0.3)
#: Executors with a request under way that has most of its time before it.
_HOLDERS = """
SELECT count(DISTINCT s.executor_id) FROM steps s JOIN runs r USING (run_id)
WHERE r.workflow = $1 AND s.step = $2 AND s.state = 'RUNNING'
  AND s.started_at > clock_timestamp() - interval '150 milliseconds'
"""


@pytest.fixture
async def api(stack: OwnStack) -> AsyncIterator[Api]:
    client = Api(stack.server, stack.token, timeout=5.0)
    yield client
    await client.close()


@pytest.mark.parametrize("victim", ["gateway", "ingest", "scheduler", "executor-1", "valkey", "postgres"])
async def test_a_kill_loses_nothing(victim: str, stack: OwnStack, api: Api, ledger: Ledger) -> None:
    name = f"kill-{victim}"
    await api.set_secret("CHAOS_HOOK", _SECRET)
    await api.apply(_WORKLOAD.source.format(name=name, ledger=ledger.url))
    hook = Hook(url=stack.server + await api.hook_path(name), secret=_SECRET)
    killed = stack.pids()[victim]

    async with aiohttp.ClientSession() as http:
        driver = Driver(api, http, name, hook)
        tickets = [f"{name}-{number}" for number in range(RUNS)]
        starting = asyncio.create_task(driver.start(tickets, at_once=_AT_ONCE))
        await eventually(lambda: _at_least(_KILL_AFTER, driver), within=30.0)
        if victim.startswith("executor"):
            await _hold_something(stack, name)
        # By its id, at once: to ask the stack for it takes longer than what has just been seen lasts.
        os.kill(killed, signal.SIGKILL)
        assert not starting.done(), "everything had been started before the kill"
        await starting

    history, outside = await _at_rest(stack, name, driver, ledger)
    assert len(driver.acknowledged) == RUNS
    assert check(history, outside) == []
    assert list(rests(history, grace=2.0)) == []
    assert {run.state for run in history.runs} == {"SUCCEEDED"}
    if victim.startswith("executor"):
        _was_taken_over(history)
    await eventually(lambda: _is_back(stack, victim, killed), within=20.0, pause=0.5)


def _at_least(count: int, driver: Driver) -> None:
    assert len(driver.acknowledged) >= count, f"{len(driver.acknowledged)} starts are confirmed"


async def _hold_something(stack: OwnStack, name: str) -> None:
    """Wait until both executors have just begun to wait for an answer that takes a while."""
    async with stack.database() as connection:

        async def both() -> None:
            holders = await connection.fetchval(_HOLDERS, name, _WORKLOAD.callers["notify"])
            assert holders == 2, f"{holders} executors hold a step"

        await eventually(both, within=20.0)


async def _at_rest(stack: OwnStack, name: str, driver: Driver, ledger: Ledger) -> tuple[History, Outside]:
    """Wait until every run has ended; then everything that is known about them."""

    async def ended() -> None:
        async with stack.database() as connection:
            unfinished = await count_unfinished(connection, name)
        assert unfinished == 0, f"{unfinished} runs have not ended"

    await eventually(ended, within=_RECOVERY_SECONDS, pause=0.25)
    async with stack.database() as connection:
        history = await read_history(connection, name)
        tickets = await read_tickets(connection, name)
    return history, Outside(
        ops=driver.ops,
        ledger=ledger.lines(),
        tickets=tickets,
        callers=_WORKLOAD.callers,
        keyed=_WORKLOAD.keyed,
    )


def _was_taken_over(history: History) -> None:
    """What the killed executor held ran again, and on the other one."""
    lost = {(a.run_id, a.step): a.executor_id for a in history.attempts if a.outcome in ("CRASHED", "UNKNOWN")}
    assert lost, f"the executor held nothing when it was killed: leases are {LEASE_SECONDS} s"
    won = {(a.run_id, a.step): a.executor_id for a in history.attempts if a.outcome == "SUCCEEDED"}
    assert all(won[place] != executor for place, executor in lost.items())


def _is_back(stack: OwnStack, victim: str, killed: int) -> None:
    assert stack.pids().get(victim, killed) != killed, f"{victim} was not started again"
    assert stack.is_healthy()
