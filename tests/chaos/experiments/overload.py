"""More than there is room for: connections, starts, steps, and one workflow that wants everything."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import psutil

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.load import HEAD, Load, Workload
from tests.chaos.world.world import World

#: One request that takes a tenth of a second: ten runs a second for each slot.
_SLOW = Workload(
    source=HEAD
    + """
  - id: look
    http: {{url: "{ledger}/look?delay=0.1&ticket=${{{{ inputs.ticket }}}}"}}
""",
    callers={"look": 0},
)
_WORK_SECONDS = 0.1
_SLOTS = 4
_MAX_QUEUED = 100
_SMALL = {"TASKFORGE_MAX_QUEUED": str(_MAX_QUEUED), "TASKFORGE_EXECUTOR_SLOTS": str(_SLOTS)}

_FLOOD = 32  #: callers who do not wait for their runs
_CROWD = 500  #: raw connections to a service at the same time
_SPARE_FILES = 30  #: that the service may open beyond what it has open
_HELD_SECONDS = 3.0
_BACK_SECONDS = 10.0
_CALM_SECONDS = 30.0
_LOOK_SECONDS = 0.02

_QUEUED = "SELECT count(*) FROM steps WHERE state = 'QUEUED'"


@experiment(
    "F11",
    "500 connections to each service that may open 30 more files",
    threshold="they are shed; the service recovers within 10 s without a restart, nothing acknowledged is lost",
    seconds=20,
    in_subset=False,
)
async def files_run_out(lab: Lab) -> None:
    slowest = 0.0
    async with lab.world() as world, lab.load(world, runs=None, at_once=4, pause=0.05) as load:
        for _ in range(lab.times(2)):
            for name in ("gateway-1", "scheduler-1", "ingest-1"):
                pid = world.pids()[name]
                with _few_files(pid):
                    async with _crowd(world, name) as connected:
                        lab.injected(f"connections to {name.partition('-')[0]}", connected)
                        await asyncio.sleep(_HELD_SECONDS)
                    started = time.monotonic()
                    await load.reached(len(load.acknowledged) + 4)
                    await world.settled()
                    slowest = max(slowest, time.monotonic() - started)
                lab.expect(world.pids()[name] == pid, f"{name} has restarted")
        lab.measured("slowest recovery s", slowest)
        lab.expect(slowest <= _BACK_SECONDS, f"a service took {slowest:.1f} s to recover")
        await load.finished()
        await lab.verify(world, load)


@contextlib.contextmanager
def _few_files(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    soft, hard = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + _SPARE_FILES, hard))
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.rlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def _crowd(world: World, name: str) -> AsyncIterator[int]:
    """Many who connect and say nothing. Gives how many got through."""
    path = world.wiring.address(name).removeprefix("unix:")
    writers = []
    for _ in range(_CROWD):
        with contextlib.suppress(OSError):
            writers.append((await asyncio.open_unix_connection(path))[1])
    try:
        yield len(writers)
    finally:
        for writer in writers:
            writer.close()


@experiment(
    "F51",
    "Starts come many times faster than executors can work",
    threshold="they are turned away with 429 and Retry-After, never more wait than allowed, nothing admitted is lost",
    seconds=15,
)
async def starts_flood(lab: Lab) -> None:
    async with lab.world(executors=1, environment=_SMALL) as world:
        depths: list[int] = []
        watching = asyncio.create_task(_watch_depth(world, depths))
        count = lab.times(500, least=250)
        try:
            async with lab.load(world, runs=count, workload=_SLOW, at_once=_FLOOD) as load:
                lab.injected(f"starts, {_FLOOD} at once", count)
                answers = await _answers_to_many(world, load)
                await load.started()
                flooded = time.monotonic()
                await load.finished(within=_CALM_SECONDS)
                lab.measured("calm again s", time.monotonic() - flooded)
                await lab.verify(world, load)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        turned_away = sum(op.status == "429" for op in load.driver.ops)
        lab.measured("turned away", turned_away)
        lab.measured("most waiting", max(depths))
        lab.expect(turned_away > 0, "nobody was turned away: the flood was too small to prove anything")
        lab.expect(max(depths) <= _MAX_QUEUED, f"{max(depths)} steps waited, {_MAX_QUEUED} may")
        lab.expect(set(answers) <= {"200", "429 in time"}, f"the flood was answered with {dict(answers)}")
        lab.expect(answers["429 in time"] > 0, "no HTTP caller was turned away")


async def _watch_depth(world: World, depths: list[int]) -> None:
    async with world.database() as connection:
        while True:
            depths.append(await connection.fetchval(_QUEUED))
            await asyncio.sleep(_LOOK_SECONDS)


async def _answers_to_many(world: World, load: Load) -> Counter[str]:
    """What a caller by HTTP is told until the flood ends; statuses, and whether a 429 says when to come again."""
    found: Counter[str] = Counter()
    headers = {"authorization": f"Bearer {world.token}"}
    url = f"{world.server}/v1/workflows/{load.name}:start"
    number = 0
    async with aiohttp.ClientSession(headers=headers) as http:
        while load.is_starting:
            number += 1
            ticket = f"{load.name}-http-{number}"
            async with http.post(url, json={"request_id": ticket, "inputs": {"ticket": ticket}}) as answer:
                await answer.read()
                again = " in time" if answer.headers.get("retry-after", "").isdecimal() else ""
                found[f"{answer.status}{again}"] += 1
            await asyncio.sleep(_LOOK_SECONDS)
    return found


@experiment(
    "F52",
    "Hundreds of steps side by side, hundreds in a chain, and one workflow that wants every executor",
    threshold="all end; no error by depth or width; how long others wait behind the hog is measured",
    seconds=20,
)
async def workflows_are_large(lab: Lab) -> None:
    async with lab.world(executors=1, environment=_SMALL) as world:
        for kind, workload in (
            ("wide", _wide(lab.times(400, least=50))),
            ("chain", _chain(lab.times(1000, least=200))),
        ):
            started = time.monotonic()
            async with lab.load(world, runs=2, workload=workload, at_once=2) as load:
                lab.injected(f"run of a {kind} workflow", 2)
                await load.finished(within=90.0)
                lab.measured(f"{kind} s", time.monotonic() - started)
                await lab.verify(world, load)
        await _one_hog(lab, world)


def _wide(steps: int) -> Workload:
    branch = '  - {{id: call-%d, needs: [], http: {{url: "{ledger}/look?ticket=${{{{ inputs.ticket }}}}"}}}}\n'
    names = [f"call-{number}" for number in range(steps)]
    source = HEAD + "".join(branch % number for number in range(steps))
    source += f"  - {{{{id: join, needs: [{', '.join(names)}], transform: {{{{value: done}}}}}}}}\n"
    return Workload(
        source=source,
        callers={name: number for number, name in enumerate(names)},
    )


def _chain(steps: int) -> Workload:
    first = "  - {{id: link_0, transform: {{value: 1}}}}\n"
    link = "  - {{id: link_%d, transform: {{value: '${{{{ steps.link_%d.output + 1 }}}}'}}}}\n"
    source = HEAD + first + "".join(link % (number, number - 1) for number in range(1, steps))
    return Workload(source=source)


async def _one_hog(lab: Lab, world: World) -> None:
    """Twenty workflows begin when one has filled the queue. A fair share is an equal part of the slots."""
    others, each = 20, 2
    async with AsyncExitStack() as opened:
        small = [
            await opened.enter_async_context(lab.load(world, runs=0, workload=_SLOW, at_once=1)) for _ in range(others)
        ]
        hog = await opened.enter_async_context(lab.load(world, runs=_MAX_QUEUED, workload=_SLOW, at_once=32))
        lab.injected(f"hog of {_MAX_QUEUED} runs before 20 workflows of 2")
        await hog.started()
        backlog = await hog.unfinished()
        started = time.monotonic()
        for load in small:
            load.begin(each, at_once=each)
        await asyncio.gather(*(load.finished() for load in small))
        took = time.monotonic() - started
        await hog.finished()
        for load in (hog, *small):
            await lab.verify(world, load)
    fair = others * each * _WORK_SECONDS / _SLOTS * (others + 1) / others
    lab.measured("the hog's backlog", backlog)
    lab.measured("others' part of their fair share", min(1.0, fair / took))
    lab.expect(backlog > 0, "the hog had ended before the others began")
