"""What an experiment is given: a seeded source of chance, worlds, a ledger, loads, and somewhere to report to."""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.chaos.experiment import Experiment
from tests.chaos.ledger import Ledger, ledger
from tests.chaos.report import Outcome
from tests.chaos.verdict import judge
from tests.chaos.world.load import CHAIN, Load, Workload, open_load
from tests.chaos.world.settings import WorldSettings
from tests.chaos.world.world import World, open_world


class Skip(Exception):
    """The experiment cannot be done on this machine; says why."""


class Bench:
    """What outlives one experiment: the ledger, and the last world as long as it fits and is healthy."""

    def __init__(self, keep: Path | None = None) -> None:
        self._keep = keep
        self._servers = AsyncExitStack()
        self._ledger: Ledger | None = None
        self._world: World | None = None
        self._worlds = AsyncExitStack()

    @property
    def ledger(self) -> Ledger:
        """The outside world that steps call."""
        if self._ledger is None:
            self._ledger = self._servers.enter_context(ledger())
        return self._ledger

    async def world(self, settings: WorldSettings) -> World:
        """The last world if it is the same and recovers from what was done to it, or a new one."""
        if self._world is not None and self._world.settings.key == settings.key:
            try:
                await self._world.reset()
            except AssertionError:
                pass
            else:
                return self._world
        await self.discard()
        self._world = await self._worlds.enter_async_context(open_world(settings))
        return self._world

    async def discard(self, *, keep_as: str = "") -> None:
        """End the world; `keep_as` names a folder for its logs."""
        if self._world is not None and keep_as and self._keep is not None:
            _copy_logs(self._world, self._keep / keep_as)
        self._world = None
        await self._worlds.aclose()
        self._worlds = AsyncExitStack()

    async def close(self) -> None:
        """End everything."""
        await self.discard()
        await self._servers.aclose()


class Lab:
    """One experiment's tools."""

    def __init__(self, bench: Bench, experiment: Experiment, outcome: Outcome, *, minutes: float) -> None:
        self.bench = bench
        self.outcome = outcome
        self.minutes = minutes  #: for experiments that last as long as they are let
        self.rng = random.Random(f"{outcome.seed}:{experiment.id}")
        self._loads = 0

    @property
    def scale(self) -> float:
        """1 stands for the numbers of the catalogue."""
        return self.outcome.scale

    @property
    def ledger(self) -> Ledger:
        """The outside world that steps call."""
        return self.bench.ledger

    def times(self, full: float, *, least: int = 1) -> int:
        """A number of the catalogue at this scale."""
        return max(least, round(full * self.scale))

    def injected(self, what: str, count: int = 1) -> None:
        """Say what was done."""
        self.outcome.injections[what] += count

    def measured(self, name: str, value: float) -> None:
        """Report a figure. Names carry their unit: `recovery s`."""
        self.outcome.measures[name] = value

    def expect(self, condition: bool, message: str) -> None:
        """A threshold; missing it is a violation."""
        if not condition:
            self.outcome.violations.append(f"{self.outcome.id}: {message}")

    @asynccontextmanager
    async def world(self, **settings: Any) -> AsyncIterator[World]:
        """A healthy world; see WorldSettings. Other variables of the services go into `environment`."""
        yield await self.bench.world(WorldSettings(**settings))

    @asynccontextmanager
    async def load(
        self, world: World, *, runs: int | None = 200, workload: Workload = CHAIN, at_once: int = 8, pause: float = 0.0
    ) -> AsyncIterator[Load]:
        """Start runs in the background, half by the API and half by webhooks, each under a key and until confirmed.

        With `runs=None` they go on until somebody waits for `started` or `finished`. A pause in seconds after each
        start makes a steady load that leaves the machine room for something else.
        """
        self._loads += 1
        name = f"{self.outcome.id.lower()}-{self.outcome.seed}-{self.rng.getrandbits(32):08x}-{self._loads}"
        opened = open_load(world, self.ledger, workload, name=name, runs=runs, at_once=at_once, pause=pause)
        async with opened as load:
            yield load

    async def verify(self, world: World, load: Load, *, final: bool = True) -> None:
        """Judge everything that is known about a load. `final`: it has come to rest."""
        self.outcome.runs += len(load.acknowledged)
        faults = world.shots.fired()
        for violation in await judge(world, load, faults=faults, final=final):
            self.outcome.violations.append(str(violation))

    async def end_world(self) -> None:
        """End the world before what it was made of; its logs are kept after a violation."""
        failed = f"{self.outcome.id}-{self.outcome.seed}" if self.outcome.violations else ""
        await self.bench.discard(keep_as=failed)

    def skip(self, reason: str) -> None:
        """Leave the experiment: this machine cannot do it."""
        raise Skip(reason)


def _copy_logs(world: World, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in world.keeper.members:
        if world.log(name).exists():
            shutil.copy(world.log(name), folder / f"{name}.log")
