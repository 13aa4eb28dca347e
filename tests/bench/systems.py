"""What is measured: a local stack, or anything else that has an edge, a database and processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from taskforge_cli.stack import processes
from taskforge_cli.stack.allocation import recorded_sockets
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.home import Home
from tests.support.stack import OwnStack


@dataclass(frozen=True, slots=True)
class Member:
    """One process. The children of a process have its name."""

    name: str
    pid: int


class System(Protocol):
    """A running product."""

    server: str  #: the public address
    token: str  #: the administrator's

    def database(self) -> AbstractAsyncContextManager[Any]:
        """A connection to the database as its owner."""

    def members(self) -> Sequence[Member]:
        """Every process."""


class StackSystem:
    """A local stack with a home folder of its own."""

    def __init__(self, stack: OwnStack) -> None:
        self.server = stack.server
        self.token = stack.token
        self.stack = stack
        self._id = str(ConfigFile.read(Home(stack.home).config_file).get("local.id"))

    @property
    def valkey_socket(self) -> Path:
        """Where its Valkey listens."""
        home = Home(self.stack.home)
        return recorded_sockets(home, ConfigFile.read(home.config_file)) / "valkey.sock"

    def database(self) -> AbstractAsyncContextManager[Any]:
        """A connection to the database as its owner."""
        return self.stack.database()

    def members(self) -> Sequence[Member]:
        """Every process."""
        found = {process.pid: process for process in processes.find(self._id)}
        return [Member(_name(process, found), process.pid) for process in found.values()]


def _name(process: processes.Process, found: dict[int, processes.Process]) -> str:
    """A process's own name, or that of the one which started it."""
    while not process.name and process.parent in found:
        process = found[process.parent]
    return process.name or "others"
