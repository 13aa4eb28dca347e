"""The executor's settings."""

from __future__ import annotations

from dataclasses import dataclass

from taskforge.bus.address import BUS_URLS, is_bus_url
from taskforge.executor.web.egress import Network
from taskforge.runtime.config import Environment, ProcessConfig, read_process_config
from taskforge.security.keyring import KeyRing, KeyRingError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """Frozen settings."""

    process: ProcessConfig
    scheduler: str  #: its address
    redis_url: str  #: or `none`
    keyring: KeyRing | None  #: None only beside a fault
    slots: int  #: steps at the same time
    http_allow: tuple[Network, ...]
    http_deny: tuple[Network, ...]


def read_config(env: Environment) -> ExecutorConfig:
    """Read the environment."""
    return ExecutorConfig(
        process=read_process_config(env),
        scheduler=env.address("TASKFORGE_SCHEDULER"),
        redis_url=_read_redis_url(env),
        keyring=env.loaded("TASKFORGE_KEYRING_FILE", KeyRing.load, KeyRingError),
        slots=env.integer("TASKFORGE_EXECUTOR_SLOTS", 64, minimum=1, maximum=1000),
        http_allow=env.networks("TASKFORGE_HTTP_ALLOW"),
        http_deny=env.networks("TASKFORGE_HTTP_DENY"),
    )


def _read_redis_url(env: Environment) -> str:
    url = env.text("TASKFORGE_REDIS_URL")
    if url and not is_bus_url(url):
        env.fault("TASKFORGE_REDIS_URL", f"is no URL of Redis; write {BUS_URLS}")
    return url
