"""Faults that hit a running world for a few seconds each, chosen by chance."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence

from taskforge.bus.streams import EXECUTORS, HINT_STREAM
from taskforge.failpoints import Point
from tests.chaos.world.settings import LEASE_SECONDS
from tests.chaos.world.world import World

#: Links of a world that this nemesis can cut.
LINKS = (
    "executor-scheduler",
    "executor-valkey",
    "gateway-postgres",
    "gateway-scheduler",
    "ingest-postgres",
    "ingest-scheduler",
    "scheduler-postgres",
    "scheduler-valkey",
)
_FROZEN_SECONDS = LEASE_SECONDS + 2.0
_STORE_FROZEN_SECONDS = 3.0
_CUT_SECONDS = 4.0
_SLOW_SECONDS = 6.0
_SLOW_BY_SECONDS = 0.2
_LOCK = "BEGIN; SET LOCAL lock_timeout = '5s'; LOCK TABLE steps IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT"
_TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE usename LIKE 'taskforge%' AND pid <> pg_backend_pid()"
)

Fault = Callable[["Nemesis"], Awaitable[str]]


class Nemesis:
    """Does one thing after the other. Each returns what it did, after it has undone it.

    Args:
        world: with all of LINKS.
        rng: decides.
        spared: processes that are never ended, for those who watch how they grow.
    """

    def __init__(self, world: World, rng: random.Random, *, spared: Sequence[str] = ()) -> None:
        self.world = world
        self.rng = rng
        self.spared = set(spared)

    async def strike(self) -> str:
        """Do one random thing and undo it."""
        return await self.rng.choice(FAULTS)(self)

    def _victim(self) -> str:
        return self.rng.choice([name for name in self.world.wiring.names() if name not in self.spared])

    async def kill(self) -> str:
        """Kill a service."""
        victim = self._victim()
        self.world.kill(victim)
        return f"kill -9 {_role(victim)}"

    async def restart(self) -> str:
        """Ask a service to end."""
        victim = self._victim()
        self.world.kill(victim, signal.SIGTERM)
        return f"SIGTERM {_role(victim)}"

    async def kill_server(self) -> str:
        """Kill PostgreSQL, Valkey or Envoy."""
        victim = self.rng.choice(["postgres", "valkey", "edge"])
        self.world.kill(victim)
        return f"kill -9 {victim}"

    async def freeze(self) -> str:
        """Freeze a service for longer than a lease."""
        victim = self.rng.choice(self.world.wiring.names())
        await self._frozen(victim, _FROZEN_SECONDS)
        return f"SIGSTOP {_role(victim)}"

    async def freeze_server(self) -> str:
        """Freeze PostgreSQL or Valkey."""
        victim = self.rng.choice(["postgres", "valkey"])
        await self._frozen(victim, _STORE_FROZEN_SECONDS)
        return f"SIGSTOP {victim}"

    async def empty(self) -> str:
        """Take everything away that is in Valkey."""
        async with self.world.redis() as redis:
            await redis.flushall()
        return "FLUSHALL"

    async def spoil(self) -> str:
        """Destroy the group, or drop every hint."""
        async with self.world.redis() as redis:
            if self.rng.random() < 0.5:
                await redis.xgroup_destroy(HINT_STREAM, EXECUTORS)
                return "XGROUP DESTROY"
            await redis.xtrim(HINT_STREAM, maxlen=0, approximate=False)
            return "XTRIM 0"

    async def terminate(self) -> str:
        """End every session of the services."""
        async with self.world.database() as connection:
            await connection.fetchval(_TERMINATE)
        return "pg_terminate_backend of all"

    async def lock(self) -> str:
        """Hold the hottest table for three seconds."""
        async with self.world.database() as connection:
            await connection.execute(_LOCK)
        return "LOCK TABLE steps"

    async def cut(self) -> str:
        """Break every connection of a link."""
        link = self.rng.choice(LINKS)
        self.world.links[link].cut()
        return f"cut {link}"

    async def silence(self) -> str:
        """Let nothing through a link, in one direction or both."""
        link = self.rng.choice(LINKS)
        self.world.links[link].blackhole(self.rng.choice(["both", "to_server", "to_client"]))
        await asyncio.sleep(_CUT_SECONDS)
        self.world.links[link].heal()
        return f"blackhole {link}"

    async def slow(self) -> str:
        """Make a link slow."""
        link = self.rng.choice(LINKS)
        self.world.links[link].latency(_SLOW_BY_SECONDS)
        await asyncio.sleep(_SLOW_SECONDS)
        self.world.links[link].heal()
        return f"+200 ms {link}"

    async def lose_replies(self) -> str:
        """Lose the answers to commits."""
        link = self.rng.choice([name for name in LINKS if name.endswith("-postgres")])
        self.world.links[link].lose_commit_replies(0.1)
        await asyncio.sleep(_SLOW_SECONDS)
        self.world.links[link].heal()
        return f"COMMIT replies lost, {link}"

    async def shoot(self) -> str:
        """Arm a failpoint somewhere."""
        point = self.rng.choice(list(Point))
        victim = _role(self._victim())
        action = "kill" if not self._is_spared(victim) else "raise"
        self.world.shots.arm(point, action=action, service=victim)
        await asyncio.sleep(_CUT_SECONDS)
        self.world.shots.disarm()
        return f"{action} at {point}"

    def _is_spared(self, role: str) -> bool:
        """Shots cannot tell one instance from another."""
        return any(_role(name) == role for name in self.spared)

    async def _frozen(self, victim: str, seconds: float) -> None:
        self.world.freeze(victim)
        await asyncio.sleep(seconds)
        self.world.thaw(victim)


FAULTS: tuple[Fault, ...] = (
    Nemesis.kill,
    Nemesis.restart,
    Nemesis.kill_server,
    Nemesis.freeze,
    Nemesis.freeze_server,
    Nemesis.empty,
    Nemesis.spoil,
    Nemesis.terminate,
    Nemesis.lock,
    Nemesis.cut,
    Nemesis.silence,
    Nemesis.slow,
    Nemesis.lose_replies,
    Nemesis.shoot,
)


def _role(name: str) -> str:
    return name.partition("-")[0]
