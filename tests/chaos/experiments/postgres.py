"""PostgreSQL restarts, loses its sessions, freezes, loses the answers to commits, and refuses them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from taskforge.invariants.rows import Op
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.load import Load
from tests.chaos.world.logs import Logs
from tests.chaos.world.nemesis import LINKS
from tests.chaos.world.recovery import answered_again, recovered
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_AT_ONCE = 4
_PAUSE = 0.05  #: between a load's starts, so that the machine is not the limit
_BETWEEN_SECONDS = (0.3, 1.5)  #: between restarts
_CONVERGE_SECONDS = 15.0  #: after a restart, 5 of them for a busy machine
_TERMINATIONS = 500
_EVERY_SECONDS = 0.1  #: a session is ended
_FROZEN_SECONDS = 10.0
_DEADLINE_SECONDS = 5.0  #: of each call of a load …
_LATE_SECONDS = 2.0  #: … and how much later it may end, one of them for a busy machine
_FIRST_SECONDS = 3.0  #: until a start is confirmed by a server that is back
_COMMITS = 4000
_SHARES = (0.05, 0.1)  #: of the commits
_DATABASE_LINKS = tuple(name for name in LINKS if name.endswith("-postgres"))
_COMMIT_SECONDS = 35.0  #: a share of commits is lost, at most

_SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE usename LIKE 'taskforge%' AND backend_type = 'client backend' ORDER BY backend_start, pid
"""


@experiment(
    "F15",
    "PostgreSQL is restarted by a fast shutdown, again and again",
    threshold="everything goes on within 15 s of each; no service ends",
    seconds=15,
)
async def postgres_restarts(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
        await load.reached(10)
        before, slowest = _starts(world), 0.0
        for _ in range(lab.times(10, least=2)):
            await asyncio.sleep(lab.rng.uniform(*_BETWEEN_SECONDS))
            await _restart(world)
            slowest = max(slowest, await recovered(load, at_once=_AT_ONCE, within=_CONVERGE_SECONDS))
            lab.injected("restart -m fast")
        lab.measured("slowest recovery s", slowest)
        lab.expect(_starts(world) == before, "a service ended when PostgreSQL was restarted")
        await load.finished()
        await lab.verify(world, load)


@experiment(
    "F16",
    "Random sessions of the services are ended by pg_terminate_backend",
    threshold="no violation, no traceback; no service ends",
    seconds=14,
)
async def sessions_are_ended(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=_AT_ONCE) as load, world.database() as owner:
        await load.reached(10)
        before, logs = _starts(world), Logs(world)
        ended = 0
        while ended < lab.times(_TERMINATIONS):
            await asyncio.sleep(_EVERY_SECONDS)
            sessions = [row["pid"] for row in await owner.fetch(_SESSIONS)]
            if sessions and await owner.fetchval("SELECT pg_terminate_backend($1)", lab.rng.choice(sessions)):
                ended += 1
                lab.injected("pg_terminate_backend")
        await load.finished()
        lab.measured("starts sent again", load.driver.repeated)
        lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
        lab.expect(_starts(world) == before, "a service ended when it lost a session")
        await lab.verify(world, load)


@experiment(
    "F17",
    "All processes of PostgreSQL are frozen for 10 s",
    threshold="every call ends 2 s after its deadline at the latest; a start is confirmed within 3 s of the thaw",
    seconds=25,
    in_subset=False,
)
async def postgres_freezes(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=None, at_once=_AT_ONCE, pause=_PAUSE) as load:
        await load.reached(10)
        firsts, slowest = [], 0.0
        for _ in range(lab.times(3)):
            world.freeze("postgres")
            await asyncio.sleep(_FROZEN_SECONDS)
            world.thaw("postgres")
            lab.injected("SIGSTOP of PostgreSQL")
            firsts.append(await answered_again(load))
            slowest = max(slowest, await recovered(load, at_once=_AT_ONCE))
        await load.finished()
        longest = _longest(load.driver.ops)
        lab.measured("longest call s", longest)
        lab.measured("first confirmation s", max(firsts))
        lab.measured("slowest recovery s", slowest)
        lab.expect(longest <= _DEADLINE_SECONDS + _LATE_SECONDS, f"a call ended after {longest:.1f} s")
        lab.expect(max(firsts) <= _FIRST_SECONDS, f"the first start was confirmed after {max(firsts):.1f} s")
        await lab.verify(world, load)


@experiment(
    "F18",
    "Commits are lost on their way to PostgreSQL, and answers to commits on their way back",
    threshold="nothing is there twice and nothing is lost, whichever of the two it was",
    seconds=25,
)
async def commits_are_lost(lab: Lab) -> None:
    async with lab.world(links=LINKS) as world:
        for share in _SHARES:
            async with lab.load(world, runs=None, at_once=2 * _AT_ONCE) as load:
                wanted = lab.times(_COMMITS * share / 2, least=10)
                for name in _DATABASE_LINKS:
                    world.links[name].lose_commit_replies(share)
                    world.links[name].lose_commits(share / 2)
                replies, commits = await _until(world, load, wanted, "lost_replies", "lost_commits")
                world.links.heal()
                lab.injected(f"COMMIT replies lost, {share:.0%}", replies)
                lab.injected(f"COMMITs lost, {share / 2:.1%}", commits)
                await load.finished()
                lab.measured(f"starts sent again at {share:.0%}", load.driver.repeated)
                await lab.verify(world, load)


@experiment(
    "F25",
    "Commits fail for serialization, deadlocks, cancellation and locks",
    threshold="the whole transaction is done again by somebody; no violation",
    seconds=15,
)
async def commits_fail(lab: Lab) -> None:
    async with lab.world(links=LINKS) as world:
        for share in _SHARES:
            async with lab.load(world, runs=None, at_once=2 * _AT_ONCE) as load:
                logs = Logs(world)
                for name in _DATABASE_LINKS:
                    world.links[name].fail_commits(share)
                (failed,) = await _until(world, load, lab.times(_COMMITS * share / 2, least=10), "failed_commits")
                world.links.heal()
                lab.injected(f"40001, 40P01, 57014 or 55P03 at COMMIT, {share:.0%}", failed)
                await load.finished()
                lab.measured(f"starts sent again at {share:.0%}", load.driver.repeated)
                lab.expect(not logs.blew_up(), f"something blew up: {logs.blew_up()[:2]}")
                await lab.verify(world, load)


async def _restart(world: World) -> None:
    """A fast shutdown; the keeper starts it again. Returns when it answers."""
    before = world.keeper.members["postgres"].starts
    world.kill("postgres", signal.SIGINT)

    async def again() -> None:
        member = world.keeper.members["postgres"]
        assert member.starts > before, "PostgreSQL has not ended"
        assert await asyncio.to_thread(member.is_up), "PostgreSQL does not answer"

    await eventually(again, within=RECOVERY_SECONDS)


async def _until(world: World, load: Load, wanted: int, *names: str) -> Sequence[int]:
    """Wait until the first of these happened so often on the links to PostgreSQL, or for long; how often each did."""
    before, end = _counts(world, names), time.monotonic() + _COMMIT_SECONDS

    def happened() -> Sequence[int]:
        assert load.is_starting, "the load has ended"
        counts = [now - then for now, then in zip(_counts(world, names), before, strict=True)]
        assert counts[0] > 0, f"{names[0]}: none"
        assert counts[0] >= wanted or time.monotonic() > end, f"{names[0]}: {counts[0]}, not {wanted}"
        return counts

    found: Sequence[int] = await eventually(happened, within=2 * _COMMIT_SECONDS, pause=0.1)
    return found


def _counts(world: World, names: Sequence[str]) -> list[int]:
    reports = [report for link in _DATABASE_LINKS for report in world.links[link].reports()]
    return [sum(getattr(report, name) for report in reports) for name in names]


def _starts(world: World) -> dict[str, int]:
    return {name: world.keeper.members[name].starts for name in world.wiring.names()}


def _longest(ops: Sequence[Op]) -> float:
    """Seconds from an invocation to its end, of whatever took longest."""
    asked: dict[int, float] = {}
    longest = 0.0
    for op in ops:
        if op.kind == "invoke":
            asked[op.process] = op.at
        else:
            longest = max(longest, op.at - asked[op.process])
    return longest
