"""Loopback ports: whether one is free, which is, and who holds it."""

from __future__ import annotations

import socket
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

from taskforge_cli.stack.errors import PortTaken

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 7610
_LISTEN_STATE = "0A"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. A connection that is just closing does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def find_free(start: int, taken: Container[int] = ()) -> int:
    """The first free port from `start` on, then from 30000 on, that is not in `taken`."""
    for first, last in ((start, min(start + 200, 65536)), (30000, 32768)):
        for port in range(first, last):
            if port not in taken and is_free(port):
                return port
    raise PortTaken(f"no free port from {start} on", hint="free a port, or name one: taskforge init --port N")


def holder(port: int) -> str:
    """Who listens on the port, as `name (pid N)`; "another program" where that cannot be seen."""
    inodes = set(_listening_inodes(port))
    for entry in Path("/proc").iterdir() if inodes else ():
        if entry.name.isdecimal() and _holds(entry, inodes):
            name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
            return f"{name} (pid {entry.name})"
    return "another program"


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN_STATE and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"


def _holds(process: Path, inodes: Container[str]) -> bool:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False
