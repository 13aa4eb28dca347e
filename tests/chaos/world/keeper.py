"""Keeps processes running as a supervisor would: what ends by itself is started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.support.processes import Process

_LOOK_SECONDS = 0.05
_RESTART_SECONDS = 0.25


@dataclass(slots=True)
class Member:
    """A process of the world. `wanted` says whether it is started again when it ends."""

    name: str
    spawn: Callable[[], Process]
    is_up: Callable[[], bool]
    process: Process | None = None
    wanted: bool = True
    frozen: bool = False
    starts: int = 0
    ended_at: float | None = field(default=None)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process is not None and self.process.exit_code is None else None

    def start(self) -> Process:
        """Start it without waiting until it is up."""
        self.process = self.spawn()
        self.starts += 1
        self.ended_at = None
        self.frozen = False
        return self.process


class Keeper:
    """Watches members and starts again what has ended."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._watching: asyncio.Task[None] | None = None

    def add(self, member: Member) -> Member:
        """Begin to look after a process; it is started by whoever adds it."""
        self.members[member.name] = member
        return member

    def watch(self) -> None:
        """Begin to start again what ends."""
        self._watching = asyncio.create_task(self._watch(), name="keeper")

    async def stop(self) -> None:
        """End every process, newest first."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for member in reversed(self.members.values()):
            if member.process is not None:
                await asyncio.to_thread(member.process.kill)

    def pids(self) -> Mapping[str, int]:
        """The processes that run, by name."""
        return {name: member.pid for name, member in self.members.items() if member.pid is not None}

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal; it is remembered whether the process is stopped by it."""
        member = self.members[name]
        if member.process is not None:
            member.process.send(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            member.frozen = number is signal.SIGSTOP

    async def _watch(self) -> None:
        while True:
            for member in self.members.values():
                self._look_at(member)
            await asyncio.sleep(_LOOK_SECONDS)

    @staticmethod
    def _look_at(member: Member) -> None:
        if not member.wanted or member.process is None or member.process.exit_code is None:
            return
        now = time.monotonic()
        if member.ended_at is None:
            member.ended_at = now
        elif now - member.ended_at >= _RESTART_SECONDS:
            member.start()
