"""Servers that answer slowly, without end, in a flood, and with what nobody can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.ledger import Behaviour, Do
from tests.chaos.ledger.bodies import BODIES
from tests.chaos.world.load import HEAD, Load, Workload
from tests.chaos.world.logs import Logs
from tests.chaos.world.world import World

_TIMEOUT_SECONDS = 2.0
_GRACE_SECONDS = 1.0  #: an attempt may end so much later than its timeout
_MAX_BODY = 256 * 1024
_LOOK_SECONDS = 0.05
_AT_ONCE = 4
_MEGABYTE = 1024 * 1024
_RUNS_TO_WARM_UP = 20

#: What an executor may grow by while it reads slow answers, for each that it reads at a time …
_SLOW_GROWTH_MB = 10.0
#: … and while it reads large ones: what it may keep of each, twice, and what the allocator does not give back.
_LARGE_GROWTH_MB = 16.0

_STEP = """
  - id: {id}
    needs: []
    on_error: continue
    timeout: {timeout:g}s
    retry: {{{{max_attempts: 1}}}}
    http: {{{{url: "{{ledger}}/{id}?{query}&ticket=${{{{{{{{ inputs.ticket }}}}}}}}", max_body: {max_body}}}}}
"""

_ATTEMPTS = """
SELECT a.step, a.outcome, coalesce(a.error->>'kind', '') AS kind, coalesce(a.error->>'message', '') AS message,
       extract(epoch FROM a.ended_at - a.started_at)::float8 AS seconds
FROM attempts a JOIN runs r USING (run_id) WHERE r.workflow = $1
"""

_SLOW: Mapping[str, Behaviour] = {
    "fine": Behaviour(),  # how long an attempt takes on this machine while all the others are under way
    "drip": Behaviour(do=Do.DRIP, every=0.2),
    "drip_head": Behaviour(do=Do.DRIP_HEAD, every=0.2),
    "hang": Behaviour(do=Do.HANG),
    "chunks": Behaviour(do=Do.HUGE),
    "headers": Behaviour(do=Do.HEADERS),
    "continue100": Behaviour(do=Do.CONTINUE100),
}
_LARGE: Mapping[str, Behaviour] = {
    "huge": Behaviour(do=Do.HUGE, size=5 * 1024**3),
    "endless": Behaviour(do=Do.HUGE),
    "bomb": Behaviour(do=Do.GZIPBOMB),
    "encodings": Behaviour(do=Do.ENCODINGS, depth=50),
}


def _asking_for(answers: Mapping[str, Behaviour]) -> Workload:
    """A step for each answer, all at once; the run succeeds whatever becomes of them."""
    steps = (
        _STEP.format(id=name, query=answer.query, timeout=_TIMEOUT_SECONDS, max_body=_MAX_BODY)
        for name, answer in answers.items()
    )
    return Workload(source=HEAD + "".join(steps), callers={name: index for index, name in enumerate(answers)})


@experiment(
    "F43",
    "Answers that drip, chunks, headers and 100 Continue without end",
    threshold="each attempt fails, typed, by its timeout and a second; executors do not grow",
    seconds=14,
)
async def answers_are_slow(lab: Lab) -> None:
    async with lab.world() as world:
        found = await _ask(lab, world, _SLOW, lab.times(50, least=6), grows_by=_SLOW_GROWTH_MB)
    usual = max(attempt.seconds for attempt in found if attempt.name == "fine")
    slowest = max(found, key=lambda attempt: attempt.seconds)
    lab.measured("slowest attempt s", slowest.seconds)
    lab.measured("slowest attempt of a fine answer s", usual)
    in_time = slowest.seconds <= _TIMEOUT_SECONDS + _GRACE_SECONDS + usual
    lab.expect(in_time, f"{slowest.name}: an attempt took {slowest.seconds:.2f} s, and {usual:.2f} s where all is fine")
    _expect_kinds(
        lab, found, {"fine": "", "drip": "timeout", "drip_head": "timeout", "hang": "timeout", "chunks": "output"}
    )
    _expect_kinds(lab, found, {"headers": "network", "continue100": "network"})


@experiment(
    "F44",
    "Answers of 5 GB and without end, 10 MB of gzip that become 10 GB, 50 encodings on top of each other",
    threshold="each attempt fails, typed, at the limit of decoded bytes; executors do not grow",
    seconds=10,
)
async def answers_are_large(lab: Lab) -> None:
    async with lab.world() as world:
        found = await _ask(lab, world, _LARGE, lab.times(50, least=6), grows_by=_LARGE_GROWTH_MB)
    lab.measured("slowest attempt s", max(attempt.seconds for attempt in found))
    _expect_kinds(lab, found, dict.fromkeys(_LARGE, "output"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """A row of `attempts`, with what it was about."""

    name: str
    outcome: str
    kind: str
    message: str
    seconds: float


async def _ask(
    lab: Lab, world: World, answers: Mapping[str, Behaviour], runs: int, *, grows_by: float
) -> Sequence[_Attempt]:
    """Runs that get every one of these answers, and what became of each attempt."""
    async with lab.load(world, runs=_RUNS_TO_WARM_UP) as warm:
        await warm.finished()
    logs = Logs(world)
    async with _watched(world) as peak, lab.load(world, runs=runs, workload=_asking_for(answers), at_once=4) as load:
        await load.finished(within=30.0 + runs)
        await lab.verify(world, load)
    for name in answers:
        lab.injected(name, runs)
    for executor, growth in peak.items():
        lab.measured(f"{executor} grew by MB", growth)
        lab.expect(growth <= grows_by, f"{executor} grew by {growth:.1f} MB")
    for line in logs.blew_up():
        lab.expect(False, f"in a log: {line}")
    found = await _attempts(world, load, list(answers))
    lab.expect(len(found) == runs * len(answers), f"{len(found)} attempts, not {runs * len(answers)}")
    return found


async def _attempts(world: World, load: Load, names: Sequence[str]) -> list[_Attempt]:
    async with world.database() as connection:
        rows = await connection.fetch(_ATTEMPTS, load.name)
    return [
        _Attempt(
            name=names[row["step"]],
            outcome=row["outcome"],
            kind=row["kind"],
            message=row["message"],
            seconds=row["seconds"],
        )
        for row in rows
    ]


def _expect_kinds(lab: Lab, found: Iterable[_Attempt], kinds: Mapping[str, str]) -> None:
    for attempt in found:
        wanted = kinds.get(attempt.name, attempt.kind)
        lab.expect(attempt.kind == wanted, f"{attempt.name}: {attempt.kind or attempt.outcome}: {attempt.message}")


@asynccontextmanager
async def _watched(world: World) -> AsyncIterator[dict[str, float]]:
    """How much memory each executor took at most, beyond what it has now, in MB."""
    processes = {name: psutil.Process(pid) for name, pid in world.pids().items() if name.startswith("executor-")}
    before = {name: process.memory_info().rss for name, process in processes.items()}
    peak = dict.fromkeys(processes, 0.0)

    async def look() -> None:
        while True:
            for name, process in processes.items():
                peak[name] = max(peak[name], (process.memory_info().rss - before[name]) / _MEGABYTE)
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look(), name="memory")
    try:
        yield peak
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


# --- what nobody can read, or store --------------------------------------------------------------

_ODD = Workload(
    source=HEAD
    + """
  - id: ask
    http: {{url: "{ledger}/odd?do=body&named=BODY&content_type=TYPE&ticket=${{{{ inputs.ticket }}}}"}}
  - id: shape
    transform: {{value: {{body: "${{{{ steps.ask.output.body }}}}", all: "${{{{ steps.ask.output }}}}"}}}}
output: ${{{{ steps.shape.output }}}}
""",
    callers={"ask": 0},
    expected=frozenset({"SUCCEEDED", "FAILED"}),
)
_TYPES = ("application/json", "text/plain", "application/octet-stream")
#: Kinds of errors that say what was wrong. What the executor failed at itself says nothing.
_TELLING = frozenset({"output", "expression"})
_ENDS = """
SELECT r.state, coalesce(s.error->>'kind', '') AS kind, coalesce(s.error->>'message', '') AS message
FROM runs r LEFT JOIN steps s ON s.run_id = r.run_id AND s.state = 'FAILED' WHERE r.workflow = $1
"""


@experiment(
    "F46",
    "Every body that a careless client chokes on, as JSON, text and bytes, passed on into a run's output",
    threshold="every run ends: with success or a typed error; none is stuck, none fails by the executor's own fault",
    seconds=18,
)
async def bodies_are_odd(lab: Lab) -> None:
    async with lab.world() as world:
        logs = Logs(world)
        ends: dict[str, int] = {"SUCCEEDED": 0, "FAILED": 0}
        cases = [(body, kind) for body in BODIES for kind in _TYPES]
        for body, kind in lab.rng.sample(cases, lab.times(len(cases), least=len(BODIES) // 2)):
            workload = _returning(body, kind)
            async with lab.load(world, runs=2, workload=workload, at_once=2) as load:
                await load.finished()
                await lab.verify(world, load)
            for row in await _ends(world, load):
                ends[row["state"]] += 1
                told = row["state"] == "SUCCEEDED" or row["kind"] in _TELLING
                lab.expect(told, f"{body} as {kind}: {row['kind']}: {row['message']}")
            lab.injected("odd body", 2)
        for state, count in ends.items():
            lab.measured(state, count)
        for line in logs.blew_up():
            lab.expect(False, f"in a log: {line}")


def _returning(body: str, content_type: str) -> Workload:
    source = _ODD.source.replace("BODY", body).replace("TYPE", content_type)
    return Workload(source=source, callers=_ODD.callers, expected=_ODD.expected)


async def _ends(world: World, load: Load) -> list[Any]:
    async with world.database() as connection:
        return list(await connection.fetch(_ENDS, load.name))
