"""How much may go wrong in one behaviour of the model, and the sizes that are searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from taskforge.domain.workflow import ActionKind, Effect, RetryPolicy, Step, Workflow

_TWICE = RetryPolicy(max_attempts=2, on=frozenset({"5xx"}))


class Budget(NamedTuple):
    """How often each fault, or each wish of a person, may come yet."""

    timeouts: int = 0  #: calls that are given up and asked again: the call, or its answer, comes late or never
    pauses: int = 0  #: leases that run out although their executor lives
    deaf: int = 0  #: leases whose heartbeats arrive and are not answered
    crashes: int = 0  #: executors that die and come back under another id
    failures: int = 0  #: attempts that fail
    refusals: int = 0  #: results that the scheduler answers with an error until another one is reported
    releases: int = 0  #: steps that are handed back
    slow_sweeps: int = 0  #: sweeps whose rows change between being found and being locked
    cancels: int = 0
    redrives: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What is searched: a chain of steps and a budget."""

    steps: int
    budget: Budget

    @property
    def workflow(self) -> Workflow:
        """Steps with effects, each after the one before it."""
        return chain(self.steps)


#: Together about 106,000 states, searched within seconds.
SIZES = {
    "lost answers": Size(steps=2, budget=Budget(timeouts=2, pauses=1)),
    "crashes": Size(steps=2, budget=Budget(timeouts=1, pauses=1, crashes=1)),
    "crashes of everybody": Size(steps=1, budget=Budget(timeouts=1, pauses=2, crashes=2)),
    "refusals and releases": Size(steps=1, budget=Budget(timeouts=1, deaf=1, refusals=1, releases=1)),
    "failures and sweeps": Size(steps=1, budget=Budget(timeouts=1, failures=2, crashes=1, slow_sweeps=1)),
    "people": Size(steps=1, budget=Budget(timeouts=1, pauses=1, failures=1, cancels=1, redrives=1)),
}

#: Together about 850,000 states, searched within minutes.
LARGE_SIZES = {
    "lost answers, large": Size(steps=2, budget=Budget(timeouts=2, pauses=1, deaf=1)),
    "crashes, large": Size(steps=2, budget=Budget(timeouts=2, pauses=1, crashes=2)),
    "failures and sweeps, large": Size(
        steps=2, budget=Budget(timeouts=1, crashes=1, failures=1, slow_sweeps=1, redrives=1)
    ),
    "people, large": Size(steps=2, budget=Budget(pauses=1, failures=2, cancels=1, redrives=1)),
}


def chain(length: int) -> Workflow:
    """Steps with effects, each after the one before it, tried twice."""
    steps = tuple(
        Step(
            index=index,
            id=f"step{index}",
            kind=ActionKind.HTTP,
            params={},
            needs=(index - 1,) if index else (),
            retry=_TWICE,
            effect=Effect.AT_LEAST_ONCE,
        )
        for index in range(length)
    )
    return Workflow(name="chain", source_hash="0" * 64, steps=steps)
