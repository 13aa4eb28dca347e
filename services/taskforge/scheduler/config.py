"""The scheduler's settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from taskforge.bus.address import BUS_URLS, is_bus_url
from taskforge.runtime.config import Environment, ProcessConfig, read_process_config
from taskforge.store.dsn import fault_of
from taskforge.store.guard import ACCEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """Frozen settings. Durations are in seconds unless they are timedeltas."""

    process: ProcessConfig
    database_url: str
    allow_unsafe_database: bool  #: it may lose what it has confirmed
    redis_url: str  #: or `none`
    lease: timedelta
    sweep_seconds: float
    max_crashes: int
    max_queued: int


def read_config(env: Environment) -> SchedulerConfig:
    """Read the environment."""
    return SchedulerConfig(
        process=read_process_config(env),
        database_url=env.judged("TASKFORGE_DATABASE_URL", fault_of),
        allow_unsafe_database=env.switch(ACCEPT),
        redis_url=_read_redis_url(env),
        lease=timedelta(seconds=env.number("TASKFORGE_LEASE_SECONDS", 30.0, minimum=1.0, maximum=3600.0)),
        sweep_seconds=env.number("TASKFORGE_SWEEP_SECONDS", 1.0, minimum=0.1, maximum=60.0),
        max_crashes=env.integer("TASKFORGE_MAX_CRASHES", 3, minimum=1, maximum=100),
        max_queued=env.integer("TASKFORGE_MAX_QUEUED", 200_000, minimum=1, maximum=10_000_000),
    )


def _read_redis_url(env: Environment) -> str:
    url = env.text("TASKFORGE_REDIS_URL")
    if url and not is_bus_url(url):
        env.fault("TASKFORGE_REDIS_URL", f"is no URL of Redis; write {BUS_URLS}")
    return url
