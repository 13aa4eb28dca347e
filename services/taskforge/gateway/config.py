"""The gateway's settings."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from taskforge.runtime.config import Environment, ProcessConfig, read_process_config
from taskforge.security.keyring import KeyRing, KeyRingError
from taskforge.store.dsn import fault_of
from taskforge.store.guard import ACCEPT

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Frozen settings."""

    process: ProcessConfig
    database_url: str
    allow_unsafe_database: bool  #: it may lose what it has confirmed
    scheduler: str  #: its address
    keyring: KeyRing | None  #: None only while faults are being collected
    admin_digest: bytes | None  #: SHA-256 of the admin token; None: the table of tokens stays as it is


def read_config(env: Environment) -> GatewayConfig:
    """Read the environment."""
    return GatewayConfig(
        process=read_process_config(env),
        database_url=env.judged("TASKFORGE_DATABASE_URL", fault_of),
        allow_unsafe_database=env.switch(ACCEPT),
        scheduler=env.address("TASKFORGE_SCHEDULER"),
        keyring=env.loaded("TASKFORGE_KEYRING_FILE", KeyRing.load, KeyRingError),
        admin_digest=_admin_digest(env),
    )


def _admin_digest(env: Environment) -> bytes | None:
    name = "TASKFORGE_ADMIN_TOKEN_SHA256"
    digest = env.text(name, "")
    if not digest:
        return None
    if not _DIGEST.fullmatch(digest):
        env.fault(name, "is no SHA-256 in hex: it must have 64 hexadecimal digits")
        return None
    if bytes.fromhex(digest) == hashlib.sha256().digest():
        env.fault(name, "is the SHA-256 of nothing: the token that was hashed was empty")
    return bytes.fromhex(digest)
