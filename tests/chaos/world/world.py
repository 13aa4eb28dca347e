"""A running product, and every handle that an experiment needs on it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from taskforge_cli.stack import edge
from tests.chaos.parts.shots import Shots
from tests.chaos.world.keeper import Keeper, Member
from tests.chaos.world.links import Links
from tests.chaos.world.settings import WorldSettings
from tests.chaos.world.wiring import Wiring, importing
from tests.support.api import Api
from tests.support.places import clean_environment, free_port, short_folder
from tests.support.postgres import DURABLE, Database, PostgresCluster
from tests.support.services import is_serving
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

DATABASE = "taskforge"
_START_SECONDS = 60.0
_CALL_SECONDS = 5.0


class World:
    """PostgreSQL, Valkey, the services and Envoy. Made by `open_world`."""

    def __init__(self, folder: Path, settings: WorldSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.keeper = Keeper()
        self.links = Links(folder, settings.links)
        self.postgres = PostgresCluster(folder, {**DURABLE, **settings.postgres})
        self.valkey = Valkey(folder) if settings.redis and not settings.redis_url else None
        self._own_database = Database(name=DATABASE, folder=self.postgres.folder)
        self.wiring = Wiring(folder, self._own_database, self.valkey, settings, self.links.via)
        self.shots = Shots(self.wiring.failpoints)
        self._port = free_port()
        self._api: Api | None = None

    @property
    def server(self) -> str:
        """The public address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """The administrator's token."""
        return self.wiring.admin_token

    @property
    def api(self) -> Api:
        """The public API through Envoy."""
        if self._api is None:
            self._api = Api(self.server, self.token, timeout=_CALL_SECONDS)
        return self._api

    async def start(self) -> None:
        """Start everything and wait until it is healthy."""
        self._add_servers()
        if not self.settings.database_host:
            await self._up("postgres")
            await asyncio.to_thread(self.postgres.run_sql, "postgres", f"CREATE DATABASE {DATABASE}")
            await self.migrate(code=self.settings.code)
        if self.valkey is not None:
            await self._up("valkey")
        for name in self.wiring.names():
            self._add(name, lambda name=name: self.wiring.spawn(name), lambda name=name: self._is_serving(name))
            self.keeper.members[name].start()
        self._add("edge", lambda: self.wiring.spawn_edge(self._port), lambda: edge.answers(self.wiring.edge_admin))
        self.keeper.members["edge"].start()
        self.keeper.watch()
        await self.settled(within=_START_SECONDS)

    async def stop(self) -> None:
        """End everything, also what is frozen."""
        if self._api is not None:
            await self._api.close()
        await self.keeper.stop()
        self.links.close()

    def pids(self) -> Mapping[str, int]:
        """The processes that run, by name: `gateway-1`, `executor-2`, `postgres`, `valkey`, `edge` …"""
        return self.keeper.pids()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a process a signal; the keeper starts it again when it has ended."""
        self.keeper.send(name, number)

    def freeze(self, name: str) -> None:
        """Stop a process as a debugger or a starved machine would. PostgreSQL is frozen with all its backends."""
        self._send(name, signal.SIGSTOP)
        self.keeper.members[name].frozen = True

    def thaw(self, name: str) -> None:
        """Let a frozen process go on."""
        self._send(name, signal.SIGCONT)
        self.keeper.members[name].frozen = False

    async def halt(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process; it stays away until `resume`."""
        member = self.keeper.members[name]
        member.wanted = False
        if member.process is not None:
            member.process.send(number)
            await asyncio.to_thread(member.process.wait, within=30.0)

    def resume(self, name: str) -> None:
        """Start a process that was halted."""
        member = self.keeper.members[name]
        member.wanted = True
        if member.pid is None:
            member.start()

    async def settled(self, *, within: float = 30.0) -> None:
        """Wait until every process runs and says that it is well."""

        async def well() -> None:
            for member in self.keeper.members.values():
                if member.wanted:
                    assert member.pid is not None, f"{member.name} does not run:\n{self.tail(member.name)}"
                    up = await asyncio.to_thread(member.is_up)
                    assert up, f"{member.name} is not well:\n{self.tail(member.name)}"

        await eventually(well, within=within, pause=0.1)

    async def reset(self) -> None:
        """Undo every fault, so that the next experiment finds a healthy world."""
        self.shots.disarm()
        self.links.heal()
        for member in self.keeper.members.values():
            if member.frozen:
                self.thaw(member.name)
            self.resume(member.name)
        await self.settled()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A connection straight to PostgreSQL as its owner."""
        if self.settings.database_host:
            url = f"postgresql://postgres@{self.settings.database_host}/{DATABASE}?target_session_attrs=read-write"
        else:
            url = self._own_database.url
        connection = await asyncpg.connect(url, timeout=5)
        try:
            yield connection
        finally:
            await connection.close()

    async def migrate(self, *, code: str = "") -> None:
        """Bring the world's own database to the newest schema that the product knows, or another version of it."""
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "taskforge.store.migrate"],
            env=clean_environment() | {"TASKFORGE_DATABASE_URL": self._own_database.url} | importing(code),
            check=True,
            capture_output=True,
        )

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """A client of the world's own Valkey."""
        assert self.valkey is not None, "this world has no Valkey of its own"
        client = Redis(unix_socket_path=str(self.valkey.socket), socket_timeout=5)
        try:
            yield client
        finally:
            await client.aclose()

    def tail(self, name: str, lines: int = 12) -> str:
        """The end of what a process wrote."""
        log = self.log(name)
        return (
            "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if log.exists() else ""
        )

    def log(self, name: str) -> Path:
        """What a process writes."""
        return {"postgres": self.postgres.folder / "server.log", "valkey": self.folder / "valkey.log"}.get(
            name, self.wiring.log(name)
        )

    def _add_servers(self) -> None:
        if not self.settings.database_host:
            self._add("postgres", self.postgres.spawn, lambda: _accepts(self._own_database.folder))
        if self.valkey is not None:
            self._add("valkey", self.valkey.spawn, self.valkey.is_up)

    def _add(self, name: str, spawn: Any, is_up: Any) -> None:
        self.keeper.add(Member(name=name, spawn=spawn, is_up=is_up))

    async def _up(self, name: str) -> None:
        member = self.keeper.members[name]
        process = member.start()
        await asyncio.to_thread(process.ready_when, member.is_up)

    def _is_serving(self, name: str) -> bool:
        return is_serving(self.wiring.address(name), timeout=1.0)

    def _send(self, name: str, number: signal.Signals) -> None:
        """To a process and its children; any of them may have ended by now."""
        for pid in self._family(name):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _family(self, name: str) -> list[int]:
        """A process and its children, parents first."""
        pid = self.keeper.members[name].pid
        return [] if pid is None else [pid, *children(pid)]


@asynccontextmanager
async def open_world(settings: WorldSettings) -> AsyncIterator[World]:
    """A world for the time of a block."""
    with short_folder() as folder:
        world = World(folder, settings)
        try:
            await world.start()
            yield world
        finally:
            await world.stop()


def _accepts(folder: Path) -> bool:
    async def ask() -> bool:
        try:
            connection = await asyncpg.connect(Database(name="postgres", folder=folder).url, timeout=1)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    return asyncio.run(ask())


def children(pid: int) -> list[int]:
    """The processes below one, parents first."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    direct = [int(child) for child in listed.read_text(encoding="ascii").split()] if listed.exists() else []
    return [found for child in direct for found in (child, *children(child))]
