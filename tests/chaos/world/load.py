"""Runs under way: somebody who starts them and does not give up, and what was seen of them from outside."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import aiohttp
import grpc

from taskforge.invariants.rows import Acknowledged, LedgerLine
from tests.chaos.driver import Driver, Hook
from tests.chaos.history import count_unfinished
from tests.chaos.ledger import Ledger
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_SECRET_NAME = "CHAOS_HOOK"
_SECRET = "whsec_" + base64.b64encode(os.urandom(24)).decode()
_APPLY_SECONDS = 60.0
_SECONDS_A_RUN = 0.1  #: generously, for the work that is left after a fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A kind of runs. The source's `{name}` and `{ledger}` are filled in; every request carries `ticket`."""

    source: str
    callers: Mapping[str, int] = field(default_factory=dict)  #: steps that call the ledger, with their index
    keyed: frozenset[str] = frozenset()  #: those whose requests carry an idempotency key
    expected: frozenset[str] = frozenset({"SUCCEEDED"})  #: states that runs may end in


#: How the workflow of every load begins: a ticket comes in, by a call or by a webhook. `steps:` is its last line.
HEAD = """
name: {name}
inputs: {{ticket: {{type: string}}}}
triggers:
  - id: hook
    webhook: {{verify: {{scheme: standard, secret: CHAOS_HOOK}}}}
    inputs: {{ticket: "${{{{ trigger.body.ticket }}}}"}}
steps:
"""
_CHAIN_STEPS = """
  - id: look
    http: {{url: "{ledger}/look?ticket=${{{{ inputs.ticket }}}}"}}
  - id: shape
    transform: {{value: {{ticket: "${{{{ steps.look.output.body.ticket }}}}"}}}}
  - id: notify
    http:
      method: POST
      url: "{ledger}/notify?delay=DELAY&ticket=${{{{ inputs.ticket }}}}"
      json: {{ticket: "${{{{ steps.shape.output.ticket }}}}"}}
output: ${{{{ steps.notify.output.body.ticket }}}}
"""


def chain(*, delay: float) -> Workload:
    """The typical automation: GET, transform, POST. The last request takes `delay` seconds to be killed in."""
    return Workload(
        source=HEAD + _CHAIN_STEPS.replace("DELAY", str(delay)),
        callers={"look": 0, "notify": 2},
        keyed=frozenset({"notify"}),
    )


CHAIN = chain(delay=0.1)

#: Calls that fail half of the time: retries, and now and then a run that gives up and leaves a dead letter.
FLAKY = Workload(
    source=HEAD
    + """
  - id: look
    http: {{url: "{ledger}/look?do=random_5xx&chance=0.5&ticket=${{{{ inputs.ticket }}}}"}}
    retry: {{max_attempts: 4, backoff: constant, initial: 200ms, on: [connect, network, timeout, 5xx]}}
  - id: notify
    http:
      method: POST
      url: "{ledger}/notify?do=random_5xx&chance=0.5&ticket=${{{{ inputs.ticket }}}}"
      json: {{ticket: "${{{{ steps.look.output.body.ticket }}}}"}}
    retry: {{max_attempts: 3, initial: 100ms, on: [connect, network, timeout, 5xx]}}
output: ${{{{ steps.notify.output.body.ticket }}}}
""",
    callers={"look": 0, "notify": 1},
    keyed=frozenset({"notify"}),
    expected=frozenset({"SUCCEEDED", "FAILED"}),
)


class Load:
    """The runs of one workflow, some of them not started yet."""

    def __init__(self, world: World, ledger: Ledger, workload: Workload, driver: Driver, name: str) -> None:
        self.world = world
        self.workload = workload
        self.driver = driver
        self.name = name  #: the workflow's
        self._ledger = ledger
        self._starting: asyncio.Task[None] | None = None
        self._is_endless = self._is_enough = False

    @property
    def acknowledged(self) -> Sequence[Acknowledged]:
        """The starts that were confirmed so far."""
        return self.driver.acknowledged

    @property
    def is_starting(self) -> bool:
        """Whether some runs have not been confirmed yet."""
        return self._starting is not None and not self._starting.done()

    def begin(self, runs: int | None, at_once: int, pause: float = 0.0) -> None:
        """Start runs in the background; without a number until `started` or `finished` are waited for."""
        self._is_endless = runs is None
        self._starting = asyncio.create_task(
            self.driver.start(self._tickets(runs), at_once=at_once, pause=pause), name=f"load-{self.name}"
        )

    def _tickets(self, runs: int | None) -> Iterator[str]:
        for number in count():
            if self._is_enough or number == runs:
                return
            yield f"{self.name}-{number}"

    async def reached(self, count: int, *, within: float = 60.0) -> None:
        """Wait until so many starts are confirmed."""

        def enough() -> None:
            assert len(self.acknowledged) >= count, f"{len(self.acknowledged)} starts are confirmed, not {count}"

        await eventually(enough, within=within)

    async def started(self) -> None:
        """Wait until every start is confirmed; an endless load is told that it is enough."""
        self._is_enough = self._is_enough or self._is_endless
        if self._starting is not None:
            await self._starting

    async def finished(self, *, within: float | None = None) -> None:
        """Wait until every start is confirmed and every run has ended."""
        await self.started()
        limit = within or 2 * RECOVERY_SECONDS + _SECONDS_A_RUN * len(self.acknowledged)

        async def ended() -> None:
            unfinished = await self.unfinished()
            assert unfinished == 0, f"{unfinished} runs of {len(self.acknowledged)} have not ended"

        await eventually(ended, within=limit, pause=0.25)

    async def unfinished(self) -> int:
        """How many runs have not ended."""
        async with self.world.database() as connection:
            return await count_unfinished(connection, self.name)

    def ledger_lines(self) -> list[LedgerLine]:
        """What the steps of this load sent to the outside."""
        return [line for line in self._ledger.lines() if line.ticket.startswith(f"{self.name}-")]

    async def abandon(self) -> None:
        """Start no more."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)


@asynccontextmanager
async def open_load(
    world: World, ledger: Ledger, workload: Workload, *, name: str, runs: int | None, at_once: int, pause: float = 0.0
) -> AsyncIterator[Load]:
    """Apply the workflow and begin to start runs."""
    source = workload.source.format(name=name, ledger=ledger.url)
    hook = await eventually(lambda: _applied(world, source, name), within=_APPLY_SECONDS, pause=0.5)
    async with aiohttp.ClientSession() as http:
        load = Load(world, ledger, workload, Driver(world.api, http, name, hook), name)
        load.begin(runs, at_once, pause)
        try:
            yield load
        finally:
            await load.abandon()


async def _applied(world: World, source: str, name: str) -> Hook:
    """Its webhook, once all is stored. A fault may be under way."""
    try:
        await world.api.set_secret(_SECRET_NAME, _SECRET)
        await world.api.apply(source)
        return Hook(url=world.server + await world.api.hook_path(name), secret=_SECRET)
    except grpc.aio.AioRpcError as error:
        raise AssertionError(f"not applied: {error.code().name} {error.details()}") from error
