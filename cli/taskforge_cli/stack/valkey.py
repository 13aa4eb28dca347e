"""Valkey for one machine: hints only, so nothing is kept, and nothing but a Unix socket listens."""

from __future__ import annotations

import socket
from pathlib import Path

_MAX_MEMORY = "256mb"


def server_command(program: Path, socket_path: Path, folder: Path) -> tuple[str, ...]:
    """The command that the supervisor runs."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "600",
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "maxmemory": _MAX_MEMORY,
        # A full stream must refuse new hints, never drop old ones unseen: executors then poll.
        "maxmemory-policy": "noeviction",
        "databases": "1",
        "io-threads": "1",
        # How often it looks after itself. Nothing of ours expires; a read that waits a second may end a little later.
        "hz": "5",
        "set-proc-title": "no",  # the title would overwrite the variables by which the stack knows its processes
        "daemonize": "no",
    }
    return (str(program), *(part for name, value in options.items() for part in (f"--{name}", value)))


def answers(socket_path: Path) -> bool:
    """Whether it answers PING."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2.0)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
