"""The ingest's settings."""

from __future__ import annotations

from dataclasses import dataclass

from taskforge.runtime.config import Environment, ProcessConfig, read_process_config
from taskforge.security.keyring import KeyRing, KeyRingError
from taskforge.store.dsn import fault_of
from taskforge.store.guard import ACCEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Frozen settings."""

    process: ProcessConfig
    database_url: str
    allow_unsafe_database: bool  #: it may lose what it has confirmed
    scheduler: str  #: its address
    keyring: KeyRing | None  #: None only beside a fault


def read_config(env: Environment) -> IngestConfig:
    """Read the environment."""
    return IngestConfig(
        process=read_process_config(env),
        database_url=env.judged("TASKFORGE_DATABASE_URL", fault_of),
        allow_unsafe_database=env.switch(ACCEPT),
        scheduler=env.address("TASKFORGE_SCHEDULER"),
        keyring=env.loaded("TASKFORGE_KEYRING_FILE", KeyRing.load, KeyRingError),
    )
