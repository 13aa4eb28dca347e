"""Two servers: what a failover loses, what it does not, how long it takes, and a server that stops taking writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from taskforge.invariants.rows import STARTS
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.replication import Acknowledge, Pair, replicated
from tests.chaos.verdict import judge
from tests.chaos.world.load import Load
from tests.chaos.world.recovery import answered_again, recovered, refused_for_now
from tests.chaos.world.world import World
from tests.support.places import short_folder

_AT_ONCE = 4
_PAUSE = 0.05
_UNHEARD = 30  #: starts that are confirmed while the standby hears nothing
_FIND_SECONDS = 30.0  #: from the loss of the primary until a start is confirmed
_SWITCH_SECONDS = 20.0  #: from when a server refuses writes until the other one has confirmed a start
_REFUSE_SECONDS = 3.0

_READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"
_WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only"
_RELOAD = "SELECT pg_reload_conf()"


@experiment(
    "F19",
    "The primary dies while its asynchronous standby has not heard of the last commits, which takes over",
    threshold="the checker reports the confirmed runs that are lost, and nothing about runs that came later",
    seconds=35,
    in_subset=False,
)
async def an_asynchronous_standby_takes_over(lab: Lab) -> None:
    with _pair("async") as pair:
        async with _served(lab, pair) as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
            await load.reached(10)
            pair.cable.blackhole()
            await load.reached(len(load.acknowledged) + lab.times(10 * _UNHEARD, least=_UNHEARD))
            await asyncio.to_thread(pair.fail_over)
            since = time.time()
            lab.injected("failover to a standby that lags behind")
            lab.measured("until a start is confirmed s", await answered_again(load, within=_FIND_SECONDS))
            await load.reached(len(load.acknowledged) + _UNHEARD)
            await load.finished()
            await _judge_the_loss(lab, world, load, since=since)
        await lab.end_world()


@experiment(
    "F20",
    "The primary dies for good, and the standby that every commit waits for takes over",
    threshold="no violation, so nothing confirmed is lost; a start is confirmed within 30 s",
    seconds=35,
    in_subset=False,
)
async def a_synchronous_standby_takes_over(lab: Lab) -> None:
    with _pair("remote_apply") as pair:
        async with _served(lab, pair) as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
            times = lab.times(3)
            slowest = 0.0
            for number in range(times):
                await load.reached(len(load.acknowledged) + _UNHEARD)
                started = time.monotonic()
                await asyncio.to_thread(pair.fail_over)
                await answered_again(load, within=_FIND_SECONDS)
                slowest = max(slowest, time.monotonic() - started)
                lab.injected("failover to the synchronous standby")
                if number < times - 1:
                    await asyncio.to_thread(pair.rejoin)
                    await asyncio.to_thread(pair.be_synchronous)
            lab.measured("slowest failover s", slowest)
            await load.reached(len(load.acknowledged) + _UNHEARD)
            lab.expect(slowest <= _FIND_SECONDS, f"a start was confirmed {slowest:.1f} s after the loss")
            await load.finished()
            await lab.verify(world, load)
        await lab.end_world()


@experiment(
    "F26",
    "The server refuses writes: for a while, and then because another one has taken over while it lives on",
    threshold="nothing is confirmed meanwhile; the other server is found within 20 s, and nothing is lost",
    seconds=40,
    in_subset=False,
)
async def a_server_refuses_writes(lab: Lab) -> None:
    with _pair("on") as pair:
        async with _served(lab, pair) as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
            await load.reached(10)
            for _ in range(lab.times(3)):
                await _read_only_for_a_while(lab, pair, load)
            started = time.monotonic()
            await asyncio.to_thread(pair.part)
            lab.injected("demoted while the services are connected")
            await answered_again(load, within=_FIND_SECONDS)
            seconds = time.monotonic() - started
            lab.measured("until the other one is used s", seconds)
            lab.expect(seconds <= _SWITCH_SECONDS, f"the other server was found after {seconds:.1f} s")
            await recovered(load, at_once=_AT_ONCE)
            await load.finished()
            await lab.verify(world, load)
        await lab.end_world()


async def _read_only_for_a_while(lab: Lab, pair: Pair, load: Load) -> None:
    for statement in (_READ_ONLY, _RELOAD):
        await asyncio.to_thread(pair.primary.sql, statement)
    await refused_for_now(load, count=_AT_ONCE)
    asked = len(load.driver.ops)
    await asyncio.sleep(_REFUSE_SECONDS)
    confirmed = [op for op in load.driver.ops[asked:] if op.kind == "ok" and op.action in STARTS]
    lab.expect(not confirmed, f"{len(confirmed)} starts were confirmed by a server that takes no writes")
    for statement in (_WRITABLE, _RELOAD):
        # The owner's own session is read-only too, which does not hold for what is no transaction.
        await asyncio.to_thread(pair.primary.sql, statement)
    lab.injected("read-only for a while")
    lab.measured("until it is used again s", await answered_again(load))
    await recovered(load, at_once=_AT_ONCE)


async def _judge_the_loss(lab: Lab, world: World, load: Load, *, since: float) -> None:
    """The loss must be found. What was begun after it must be as if there had been none."""
    lab.outcome.runs += len(load.acknowledged)
    found = await judge(world, load, faults=(), final=True)
    lost = {violation.run_id for violation in found if violation.invariant == "I1"}
    asked = {op.key: op.at for op in reversed(load.driver.ops) if op.kind == "invoke" and op.action in STARTS}
    later = {one.run_id for one in load.acknowledged if asked[one.ticket] > since}
    lab.measured("confirmed runs that were lost", len(lost))
    lab.measured("violations that the checker reports", len(found))
    lab.measured("runs that were begun later", len(later))
    lab.expect(bool(lost), "the checker does not notice that confirmed runs are lost")
    for violation in found:
        if violation.run_id in later:
            lab.outcome.violations.append(f"after the failover: {violation}")


def _served(lab: Lab, pair: Pair) -> AbstractAsyncContextManager[World]:
    return lab.world(database_host=pair.hosts)


@contextmanager
def _pair(acknowledge: Acknowledge) -> Iterator[Pair]:
    with short_folder() as folder, replicated(folder, acknowledge) as pair:
        yield pair
