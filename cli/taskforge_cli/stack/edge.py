"""Envoy for one machine: the shared template with Unix sockets, one worker thread, readiness by its admin socket."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from taskforge.edge.render import EdgeSettings, render
from taskforge_cli.stack.files import write_private
from taskforge_cli.stack.ports import LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Where the edge sends what it lets in, as `unix:/path`."""

    gateway: str
    ingest: str


def write_configuration(path: Path, port: int, admin: Path, backends: Backends) -> bool:
    """Write Envoy's configuration. Returns whether it differs from what was there."""
    text = render(
        EdgeSettings(
            listen=f"{LOOPBACK}:{port}",
            admin=f"unix:{admin}",
            gateway=backends.gateway,
            ingest=backends.ingest,
        )
    )
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_private(path, text)
    return True


def server_command(program: Path, configuration: Path) -> tuple[str, ...]:
    """The command that the supervisor runs."""
    return (
        str(program),
        "--config-path",
        str(configuration),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--drain-time-s",
        "1",
    )


def answers(admin: Path) -> bool:
    """Whether it is live: configured and listening."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2.0)
            connection.connect(str(admin))
            connection.sendall(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
