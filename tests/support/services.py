"""The services as real processes, over one database and one Valkey."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from taskforge.runtime.client import Peer
from tests.support.places import clean_environment
from tests.support.postgres import Database
from tests.support.processes import Process
from tests.support.valkey import Valkey

_DATABASE_ROLES = {"gateway", "scheduler", "ingest"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service."""

    name: str
    address: str  #: `unix:/…`
    process: Process


class Services:
    """Starts services and ends them all. Each start may override any variable."""

    def __init__(self, folder: Path, database: Database, valkey: Valkey | None) -> None:
        self.folder = folder
        self.database = database
        self.valkey = valkey
        self.internal_token = secrets.token_hex(32)
        self.admin_token = "tf_" + secrets.token_hex(32)
        self.keyring_file = folder / "keyring.json"
        self._token_file = folder / "internal-token"
        self._running: list[Service] = []
        self._peers: list[Peer] = []
        key = base64.b64encode(os.urandom(32)).decode()
        _write_private(self.keyring_file, json.dumps({"active": "k1", "keys": {"k1": key}}))
        _write_private(self._token_file, self.internal_token)

    def address(self, name: str, instance: int = 0) -> str:
        """Where a service listens; instances after the first have their own address."""
        return f"unix:{self.folder}/{name}{instance or ''}.sock"

    def environment(self, name: str, instance: int = 0) -> dict[str, str]:
        """Every variable of a service, as the contracts of the process say."""
        found = {
            "TASKFORGE_LISTEN": self.address(name, instance),
            "TASKFORGE_SCHEDULER": self.address("scheduler"),
            "TASKFORGE_INTERNAL_TOKEN_FILE": str(self._token_file),
            "TASKFORGE_KEYRING_FILE": str(self.keyring_file),
            "TASKFORGE_REDIS_URL": self.valkey.url if self.valkey else "none",
            "TASKFORGE_ADMIN_TOKEN_SHA256": hashlib.sha256(self.admin_token.encode()).hexdigest(),
            "TASKFORGE_HTTP_ALLOW": "127.0.0.0/8",
        }
        if name in _DATABASE_ROLES:
            found["TASKFORGE_DATABASE_URL"] = self.database.url_for(name)
            found["TASKFORGE_ALLOW_UNSAFE_DATABASE"] = "1"  # the tests' server trades safety for speed
        return found

    def start(
        self,
        name: str,
        settings: Mapping[str, str] | None = None,
        *,
        instance: int = 0,
        ready: bool = True,
        **overrides: str,
    ) -> Service:
        """Start a service and wait until its health check says SERVING, unless `ready` is False.

        Any variable may be set, as a keyword or, where they come in a mapping, by `settings`.
        """
        address = self.address(name, instance)
        process = Process(
            [sys.executable, "-m", f"taskforge.{name}"],
            log=self.folder / f"{name}{instance or ''}.log",
            env=clean_environment() | self.environment(name, instance) | dict(settings or {}) | overrides,
        )
        service = Service(name=name, address=address, process=process)
        self._running.append(service)
        if ready:
            process.ready_when(lambda: is_serving(address, timeout=1.0))
        return service

    def peer(self, name: str, *, token: str | None = None, instance: int = 0) -> Peer:
        """A channel to a service whose calls carry the internal token, or another one."""
        peer = Peer(
            self.address(name, instance),
            self.internal_token if token is None else token,
            unavailable_reason=f"{name.upper()}_UNAVAILABLE",
        )
        self._peers.append(peer)
        return peer

    def channel(self, name: str, *, instance: int = 0) -> grpc.aio.Channel:
        """A bare channel to a service; calls carry what the test gives them."""
        return self.peer(name, instance=instance).channel

    async def close(self) -> None:
        """Close the channels and end the processes, newest first."""
        for peer in self._peers:
            await peer.close()
        for service in reversed(self._running):
            service.process.kill()


def is_serving(address: str, timeout: float = 2.0) -> bool:
    """Ask the standard health service once. `timeout` is in seconds."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
