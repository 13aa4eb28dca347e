"""Servers that do what they are asked and do not say so, and servers that ask for patience."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.ledger import Behaviour, Do
from tests.chaos.ledger.behaviour import Call, meets
from tests.chaos.world.load import HEAD, Load, Workload
from tests.chaos.world.settings import SWEEP_SECONDS
from tests.chaos.world.world import World

# --- done, and not said --------------------------------------------------------------------------

_MAX_ATTEMPTS = 4
_LOST = Behaviour(do=Do.RST_AFTER_EFFECT, chance=0.6).query
#: By the step's id: its method, and whether it may be repeated.
_SILENT = {
    "post": ("POST", True),
    "get": ("GET", True),
    "put": ("PUT", True),
    "post_once": ("POST", False),
    "put_once": ("PUT", False),
}


def _silent_step(name: str, method: str, *, repeat: bool) -> str:
    how = (
        f"retry: {{{{max_attempts: {_MAX_ATTEMPTS}, initial: 100ms, on: [connect, network]}}}}"
        if repeat
        else "effect: at_most_once"
    )
    return f"""
  - id: {name}
    needs: []
    on_error: continue
    {how}
    http: {{{{method: {method}, url: "{{ledger}}/{name}?{_LOST}&ticket=${{{{{{{{ inputs.ticket }}}}}}}}"}}}}
"""


_DONE_UNSAID = Workload(
    source=HEAD + "".join(_silent_step(name, method, repeat=repeat) for name, (method, repeat) in _SILENT.items()),
    callers={name: index for index, name in enumerate(_SILENT)},
    keyed=frozenset({"post", "post_once", "put_once"}),
)


@experiment(
    "F45",
    "A server does what it is asked, and then breaks the connection",
    threshold="one request an attempt under one key; one request at all where it says at_most_once",
    seconds=10,
)
async def effects_are_unsaid(lab: Lab) -> None:
    runs = lab.times(200, least=20)
    async with lab.world() as world, lab.load(world, runs=runs, workload=_DONE_UNSAID) as load:
        await load.finished()
        await lab.verify(world, load)
        attempts = await _attempts(world, load)
    requests: Counter[tuple[UUID, int]] = Counter()
    for line in load.ledger_lines():
        requests[line.run_id, _DONE_UNSAID.callers[line.step]] += 1
    lab.injected("RST after the effect", sum(row.outcome != "SUCCEEDED" for rows in attempts.values() for row in rows))
    for (run_id, step), count in requests.items():
        name = list(_SILENT)[step]
        made = len(attempts[run_id, step])
        lab.expect(count == made, f"{name} was sent {count} times in {made} attempts")
        lab.expect(count == 1 or _SILENT[name][1], f"{name}, at most once, was sent {count} times")
    lab.expect(len(requests) == runs * len(_SILENT), "some request was never sent")
    lab.measured("requests a step", sum(requests.values()) / max(1, len(requests)))
    lab.measured("most requests of a step", max(requests.values(), default=0))


# --- later, please -------------------------------------------------------------------------------

_INITIAL_SECONDS, _MOST_SECONDS = 0.2, 1.0
_TRIES = 3
_POLICY = (
    f"max_attempts: {_TRIES}, initial: {_INITIAL_SECONDS:g}s, max: {_MOST_SECONDS:g}s, jitter: none, on: [429, 5xx]"
)
#: After its time has come a retry waits for a sweep, for an executor, and for a busy machine.
_LATE_SECONDS = 2 * SWEEP_SECONDS + 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plea:
    """What a server answers, and what it is worth: seconds at least, or that nobody waits for so long."""

    behaviour: Behaviour
    floor: float = 0.0
    ceiling: float = 0.0
    is_hopeless: bool = False


def _later(status: int, retry_after: str) -> Behaviour:
    return Behaviour(do=Do.STATUS, status=status, retry_after=retry_after, attempts=_TRIES - 1)


_PLEAS: Mapping[str, _Plea] = {
    "seconds": _Plea(behaviour=_later(429, "2"), floor=2.0, ceiling=2.0),
    "date": _Plea(behaviour=_later(503, "in:3"), floor=2.0, ceiling=4.0),  # dates are whole seconds
    "negative": _Plea(behaviour=_later(429, "-5")),
    "past": _Plea(behaviour=_later(503, "in:-60")),
    "nonsense": _Plea(behaviour=_later(503, "soon")),
    "silent": _Plea(behaviour=_later(429, "")),
    "decade": _Plea(behaviour=_later(429, "315360000"), is_hopeless=True),
    "random": _Plea(behaviour=Behaviour(do=Do.RANDOM_5XX, chance=0.5)),
}


def _pleading_step(name: str, plea: _Plea) -> str:
    return f"""
  - id: {name}
    needs: []
    on_error: continue
    retry: {{{{{_POLICY}}}}}
    http: {{{{url: "{{ledger}}/{name}?{plea.behaviour.query}&ticket=${{{{{{{{ inputs.ticket }}}}}}}}"}}}}
"""


_PATIENCE = Workload(
    source=HEAD + "".join(_pleading_step(name, plea) for name, plea in _PLEAS.items()),
    callers={name: index for index, name in enumerate(_PLEAS)},
)


@experiment(
    "F47",
    "429 and 503 with every form of Retry-After, and 5xx by chance",
    threshold="attempts come between the policy's minimum and its cap; dead letters are what is exhausted",
    seconds=14,
    in_subset=False,
)
async def servers_ask_for_patience(lab: Lab) -> None:
    runs = lab.times(100, least=10)
    async with lab.world() as world, lab.load(world, runs=runs, workload=_PATIENCE) as load:
        await load.finished()
        await lab.verify(world, load)
        attempts = await _attempts(world, load)
        letters = await _letters(world, load)
    tickets = {line.run_id: (line.ticket, line.epoch) for line in load.ledger_lines()}
    exhausted = set()
    latest = 0.0
    for (run_id, step), rows in sorted(attempts.items()):
        name = list(_PLEAS)[step]
        failures = _expected_failures(name, *tickets[run_id])
        found = [row.outcome for row in rows]
        wanted = ["FAILED"] * failures + ["SUCCEEDED"] * (failures < _TRIES and not _PLEAS[name].is_hopeless)
        lab.expect(found == wanted, f"{name}: {found}, not {wanted}")
        lab.injected(f"answer '{name}'", failures)
        if wanted[-1] == "FAILED":
            exhausted.add((run_id, step))
        for number, (row, following) in enumerate(pairwise(rows)):
            backoff = min(_INITIAL_SECONDS * 2**number, _MOST_SECONDS)
            least, most = max(backoff, _PLEAS[name].floor), max(backoff, _PLEAS[name].ceiling)
            waited = following.started_at - row.ended_at
            latest = max(latest, waited - most)
            in_time = least - 0.001 <= waited <= most + _LATE_SECONDS
            lab.expect(in_time, f"{name}: {waited:.3f} s before attempt {number + 2}, not {least:g} to {most:g} s")
    lab.expect(len(attempts) == runs * len(_PLEAS), "some step was never tried")
    lab.expect(letters == exhausted, f"{len(letters)} dead letters, {len(exhausted)} steps are exhausted")
    lab.measured("dead letters", len(letters))
    lab.measured("latest retry s", latest)


def _expected_failures(name: str, ticket: str, epoch: int) -> int:
    """How many attempts fail: chance is each attempt's own, and known beforehand."""
    plea = _PLEAS[name]
    if plea.is_hopeless:
        return 1
    calls = (Call(path=f"/{name}", ticket=ticket, step=name, epoch=epoch, attempt=n + 1) for n in range(_TRIES))
    return next((number for number, call in enumerate(calls) if not meets(plea.behaviour, call)), _TRIES)


# --- the rows ------------------------------------------------------------------------------------

_ATTEMPTS = """
SELECT a.run_id, a.step, a.outcome, extract(epoch FROM a.started_at)::float8 AS started_at,
       extract(epoch FROM a.ended_at)::float8 AS ended_at
FROM attempts a JOIN runs r USING (run_id) WHERE r.workflow = $1 ORDER BY a.run_id, a.step, a.attempt
"""
_LETTERS = "SELECT run_id, step FROM dead_letters WHERE workflow = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """A row of `attempts`; times in Unix seconds."""

    outcome: str
    started_at: float
    ended_at: float


async def _attempts(world: World, load: Load) -> Mapping[tuple[UUID, int], Sequence[_Attempt]]:
    found: dict[tuple[UUID, int], list[_Attempt]] = defaultdict(list)
    async with world.database() as connection:
        rows: list[Any] = await connection.fetch(_ATTEMPTS, load.name)
    for row in rows:
        attempt = _Attempt(outcome=row["outcome"], started_at=row["started_at"], ended_at=row["ended_at"])
        found[row["run_id"], row["step"]].append(attempt)
    return found


async def _letters(world: World, load: Load) -> set[tuple[UUID, int]]:
    async with world.database() as connection:
        return {(row["run_id"], row["step"]) for row in await connection.fetch(_LETTERS, load.name)}
