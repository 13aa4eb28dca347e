"""What a world is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LEASE_SECONDS = 3.0
SWEEP_SECONDS = 1.0
#: A lease, two sweeps and the time in which everybody reconnects: after a fault nothing may wait for longer.
RECOVERY_SECONDS = LEASE_SECONDS + 2 * SWEEP_SECONDS + 5.0

SERVICES = ("scheduler", "gateway", "ingest", "executor")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSettings:
    """How many of each, and how they are wired.

    `links` names the connections that run through a fault proxy: `scheduler-postgres`, `executor-valkey`,
    `gateway-scheduler`, `edge-gateway` … All instances of the first kind share that link.
    """

    schedulers: int = 1
    gateways: int = 1
    ingests: int = 1
    executors: int = 2
    redis: bool = True
    links: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)  #: of every service
    postgres: Mapping[str, str] = field(default_factory=dict)  #: settings of the server
    redis_url: str = ""  #: another broker than the world's own
    database_host: str = ""  #: another server than the world's own: `host1:port1,host2:port2`
    code: str = ""  #: a folder with another version of the product, which everything starts with

    def count(self, service: str) -> int:
        """How many instances of a service there are."""
        return {
            "scheduler": self.schedulers,
            "gateway": self.gateways,
            "ingest": self.ingests,
            "executor": self.executors,
        }[service]

    @property
    def key(self) -> str:
        """Two worlds with the same key are interchangeable."""
        return repr(self)
