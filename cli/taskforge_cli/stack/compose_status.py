"""The containers as `taskforge status` shows them: those that there are, and those that there should be."""

from __future__ import annotations

from collections.abc import Sequence

from taskforge_cli.stack.docker import Container, display_name
from taskforge_cli.stack.status import ProcessStatus, StackStatus

#: What `deploy/compose.yaml` keeps running, but for the executors.
SERVICES = ("envoy", "gateway", "ingest", "postgres", "redis", "scheduler")
STARTING = "STARTING"  #: it runs, and its first health check is not through yet
_EXECUTOR = "executor"
_STATES = {"running": "RUNNING", "restarting": "BACKOFF", "created": "STOPPED"}


def read(containers: Sequence[Container], *, project: str, url: str, executors: int) -> StackStatus:
    """The whole stack; a container that is gone has a row, too."""
    shown = [found for found in containers if found.service != "migrate" or found.fault]
    running = any(found.state == "running" for found in shown)
    message = "it has no container; taskforge up makes one" if running else ""
    rows = [_row(found, url) for found in shown]
    rows += [_absent(name, url, message) for name in missing(shown, executors)]
    rows.sort(key=lambda row: row.name)
    # A first health check takes its time: until then, a container that runs is no reason to worry.
    healthy = all(row.healthy or row.state == STARTING for row in rows)
    return StackStatus(running=running, healthy=healthy, url=url, project=project, processes=tuple(rows))


def missing(containers: Sequence[Container], executors: int) -> list[str]:
    """Names of containers that should be there and are not."""
    services = {found.service for found in containers}
    names = {found.name for found in containers}
    numbered = (display_name(_EXECUTOR, str(number)) for number in range(1, executors + 1))
    lacking = executors - sum(found.service == _EXECUTOR for found in containers)
    absent = [name for name in numbered if name not in names][: max(0, lacking)]
    return [*(name for name in SERVICES if name not in services), *absent]


def _row(container: Container, url: str) -> ProcessStatus:
    starting = container.state == "running" and container.health == "starting"
    state = STARTING if starting else _STATES.get(container.state, container.state.upper())
    return ProcessStatus(
        name=container.name,
        state=state,
        pid=None,
        listen=url if container.service == "envoy" else "",
        metrics="",
        memory_bytes=0,
        uptime_seconds=container.uptime_seconds,
        healthy=container.state == "running" and container.health in ("", "healthy"),
        message=container.fault,
    )


def _absent(name: str, url: str, message: str) -> ProcessStatus:
    return ProcessStatus(
        name=name,
        state="STOPPED",
        pid=None,
        listen=url if name == "envoy" else "",
        metrics="",
        memory_bytes=0,
        uptime_seconds=0.0,
        healthy=False,
        message=message,
    )
