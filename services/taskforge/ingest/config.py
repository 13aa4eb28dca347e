"""The ingest's settings."""

from __future__ import annotations

from dataclasses import dataclass

from taskforge.runtime.config import Environment, ProcessConfig, read_process_config
from taskforge.security.keyring import KeyRing, KeyRingError


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Frozen settings."""

    process: ProcessConfig
    database_url: str
    scheduler: str  #: its address
    keyring: KeyRing | None  #: None only beside a fault


def read_config(env: Environment) -> IngestConfig:
    """Read the environment."""
    return IngestConfig(
        process=read_process_config(env),
        database_url=env.text("TASKFORGE_DATABASE_URL"),
        scheduler=env.address("TASKFORGE_SCHEDULER"),
        keyring=env.loaded("TASKFORGE_KEYRING_FILE", KeyRing.load, KeyRingError),
    )
