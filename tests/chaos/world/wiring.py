"""Which process listens where, who is told which address, and with which variables each starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from taskforge.edge.render import EdgeSettings, render
from taskforge_cli.stack import edge, install
from tests.chaos.world.settings import LEASE_SECONDS, SERVICES, SWEEP_SECONDS, WorldSettings
from tests.support.places import clean_environment
from tests.support.postgres import Database
from tests.support.processes import Process
from tests.support.services import Services
from tests.support.valkey import Valkey

_POSTGRES_SOCKET = ".s.PGSQL.5432"
_DRAIN_SECONDS = "5"


class Wiring:
    """Addresses, environments and commands of one world.

    Args:
        folder: everything lies below it; its path is short enough for sockets.
        database: of the world's own server.
        valkey: the world's own broker, or None.
        settings: what was asked for.
        via: maps a link's name and the upstream's address to where its client shall connect instead.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        valkey: Valkey | None,
        settings: WorldSettings,
        via: Callable[[str, str], str],
    ) -> None:
        self.folder = folder
        self.failpoints = folder / "failpoints"
        #: A folder with another version for some processes, from their next start on: `scheduler-1` → path.
        self.code = dict.fromkeys(_names(settings), settings.code) if settings.code else {}
        #: More variables for some processes, from their next start on.
        self.variables: dict[str, Mapping[str, str]] = {}
        self._settings = settings
        self._services = Services(folder, database, valkey)
        self._database = database
        self._via = via
        self.failpoints.mkdir(mode=0o700, exist_ok=True)

    @property
    def admin_token(self) -> str:
        """The administrator's token."""
        return self._services.admin_token

    @property
    def internal_token(self) -> str:
        """The token of calls between services."""
        return self._services.internal_token

    def names(self) -> list[str]:
        """The services' processes in the order in which they start: `scheduler-1`, `gateway-1` …"""
        return _names(self._settings)

    def address(self, name: str) -> str:
        """Where a process listens: `unix:/…`."""
        return f"unix:{self.folder}/{name}.sock"

    def log(self, name: str) -> Path:
        """What a process writes."""
        return self.folder / f"{name}.log"

    def spawn(self, name: str) -> Process:
        """Start one of the services."""
        service, _, number = name.partition("-")
        return Process(
            [sys.executable, "-m", f"taskforge.{service}"],
            log=self.log(name),
            env=clean_environment() | self._environment(service, int(number)) | importing(self.code.get(name, "")),
        )

    def spawn_edge(self, port: int) -> Process:
        """Start Envoy."""
        configuration = self.folder / "envoy.yaml"
        settings = EdgeSettings(
            listen=f"127.0.0.1:{port}",
            admin=f"unix:{self.edge_admin}",
            gateway=self._link("edge", "gateway-1"),
            ingest=self._link("edge", "ingest-1"),
        )
        configuration.write_text(render(settings), encoding="utf-8")
        command = edge.server_command(install.locate().envoy, configuration)
        return Process(command, log=self.log("edge"), env=clean_environment())

    @property
    def edge_admin(self) -> Path:
        """Envoy's admin socket."""
        return self.folder / "edge-admin.sock"

    def _environment(self, service: str, number: int) -> dict[str, str]:
        scheduler = (number - 1) % self._settings.schedulers + 1
        name = f"{service}-{number}"
        found = self._services.environment(service) | {
            "TASKFORGE_LISTEN": self.address(name),
            "TASKFORGE_SCHEDULER": self._link(service, f"scheduler-{scheduler}"),
            "TASKFORGE_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "TASKFORGE_SWEEP_SECONDS": f"{SWEEP_SECONDS:g}",
            "TASKFORGE_DRAIN_SECONDS": _DRAIN_SECONDS,
            "TASKFORGE_TEST_FAILPOINTS": str(self.failpoints),
        }
        found.pop("TASKFORGE_ALLOW_UNSAFE_DATABASE", None)  # the server of a world keeps what it commits
        if service != "executor":
            found["TASKFORGE_DATABASE_URL"] = self._database_url(service)
        if service == "executor":
            found["TASKFORGE_LOG_LEVEL"] = "debug"  # each answer about a lease: the checker reads them
        if service in ("scheduler", "executor"):
            found["TASKFORGE_REDIS_URL"] = self._redis_url(service)
        return found | dict(self._settings.environment) | dict(self.variables.get(name, {}))

    def _link(self, client: str, server: str) -> str:
        """Where a client finds a server: itself, or the proxy in between."""
        return self._via(f"{client}-{server.partition('-')[0]}", self.address(server))

    def _database_url(self, service: str) -> str:
        user = f"taskforge_{service}"
        if self._settings.database_host:
            hosts = self._settings.database_host
            return f"postgresql://{user}@{hosts}/{self._database.name}?target_session_attrs=read-write"
        socket = self._via(f"{service}-postgres", f"unix:{self._database.folder / _POSTGRES_SOCKET}")
        folder = Path(socket.removeprefix("unix:")).parent
        return f"postgresql://{user}@/{self._database.name}?host={folder}"

    def _redis_url(self, service: str) -> str:
        if not self._settings.redis:
            return "none"
        if self._settings.redis_url:
            return self._settings.redis_url
        socket = self._services.valkey.socket if self._services.valkey else ""
        return f"unix://{self._via(f'{service}-valkey', f'unix:{socket}').removeprefix('unix:')}"


def importing(code: str) -> dict[str, str]:
    """The variables with which a program is that of another version, if one is given."""
    return {"PYTHONPATH": code} if code else {}


def _names(settings: WorldSettings) -> list[str]:
    return [f"{service}-{number}" for service in SERVICES for number in range(1, settings.count(service) + 1)]
