"""Which processes make up the stack, and how each is started. Pure: nothing here touches the machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from taskforge_cli.stack import edge, postgres, valkey
from taskforge_cli.stack.allocation import Allocation
from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.errors import ConfigInvalid
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.install import Programs
from taskforge_cli.stack.ports import LOOPBACK
from taskforge_cli.stack.postgres import Cluster
from taskforge_cli.stack.secrets import token_digest

_DEFAULT_DRAIN_SECONDS = "10"
_STOP_MARGIN_SECONDS = 5
#: The order in which the stack stops: no new work, no work in hand, then what work relies on.
STOP_PHASES = (("edge",), ("gateway", "ingest", "executor"), ("scheduler",), ("valkey", "postgres"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process of the stack."""

    name: str
    role: str  #: the name without an executor's number
    command: tuple[str, ...]
    folder: Path
    listen: str  #: `unix:/path` or `host:port`
    environment: Mapping[str, str]
    metrics_port: int | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 10

    @property
    def is_service(self) -> bool:
        """Whether it is one of ours, with a gRPC health check, rather than a server from a wheel."""
        return self.role in ("gateway", "scheduler", "ingest", "executor")

    @property
    def phase(self) -> int:
        """When it stops; 0 is first."""
        return next(number for number, roles in enumerate(STOP_PHASES) if self.role in roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole stack as it shall be."""

    home: Home
    allocation: Allocation
    cluster: Cluster
    programs: tuple[Program, ...]
    service_environment: Mapping[str, str]
    postgres_settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """The public address."""
        return f"http://{LOOPBACK}:{self.allocation.port}"

    @property
    def admin_socket(self) -> Path:
        """Envoy's admin socket."""
        return self.allocation.sockets / "edge-admin.sock"

    @property
    def envoy_file(self) -> Path:
        """Envoy's configuration."""
        return self.home.run_dir / "envoy.yaml"

    @property
    def services(self) -> tuple[Program, ...]:
        """The four services' processes."""
        return tuple(program for program in self.programs if program.is_service)

    def program(self, name: str) -> Program | None:
        """The process of this name."""
        return next((program for program in self.programs if program.name == name), None)

    def socket(self, name: str) -> str:
        """A service's address."""
        return f"unix:{self.allocation.sockets / name}.sock"


def process_names(configuration: Configuration) -> list[str]:
    """The services' processes: each has metrics."""
    executors = [f"executor-{number}" for number in range(1, configuration.value("local.executors") + 1)]
    return ["scheduler", "gateway", "ingest", *executors]


def build(home: Home, configuration: Configuration, allocation: Allocation, programs: Programs) -> Plan:
    """Put the plan together."""
    cluster = Cluster(
        data=home.postgres_dir,
        sockets=allocation.sockets / "pg",
        programs=programs,
        stack_id=allocation.stack_id,
    )
    empty = Plan(
        home=home,
        allocation=allocation,
        cluster=cluster,
        programs=(),
        service_environment=configuration.service_environment,
        postgres_settings=configuration.postgres,
    )
    servers = [_postgres(empty)]
    if configuration.value("local.redis"):
        servers.append(_valkey(empty, programs))
    servers.append(_edge(empty, programs))
    services = [_service(empty, configuration, name) for name in process_names(configuration)]
    return replace(empty, programs=(*servers, *services))


def _postgres(plan: Plan) -> Program:
    return Program(
        name="postgres",
        role="postgres",
        command=postgres.server_command(plan.cluster),
        folder=plan.home.run_dir,
        listen=f"unix:{plan.cluster.socket_path}",
        environment={},
        stop_signal="INT",  # "fast": does not wait for idle clients
        stop_seconds=60,
    )


def _valkey(plan: Plan, programs: Programs) -> Program:
    path = plan.allocation.sockets / "valkey.sock"
    return Program(
        name="valkey",
        role="valkey",
        command=valkey.server_command(programs.valkey, path, plan.home.valkey_dir),
        folder=plan.home.valkey_dir,
        listen=f"unix:{path}",
        environment={},
    )


def _edge(plan: Plan, programs: Programs) -> Program:
    return Program(
        name="edge",
        role="edge",
        command=edge.server_command(programs.envoy, plan.envoy_file),
        folder=plan.home.run_dir,
        listen=f"{LOOPBACK}:{plan.allocation.port}",
        environment={},
    )


def _service(plan: Plan, configuration: Configuration, name: str) -> Program:
    role = name.partition("-")[0]
    metrics = plan.allocation.metrics[name]
    common = {
        "TASKFORGE_LISTEN": plan.socket(name),
        "TASKFORGE_METRICS_LISTEN": f"{LOOPBACK}:{metrics}",
        "TASKFORGE_INTERNAL_TOKEN_FILE": str(plan.home.internal_token_file),
    }
    return Program(
        name=name,
        role=role,
        command=(sys.executable, "-m", f"taskforge.{role}"),
        folder=plan.home.run_dir,
        listen=plan.socket(name),
        environment=common | _own_environment(plan, configuration, role),
        metrics_port=metrics,
        stop_seconds=_drain_seconds(configuration) + _STOP_MARGIN_SECONDS,
    )


def _drain_seconds(configuration: Configuration) -> int:
    text = configuration.service_environment.get("TASKFORGE_DRAIN_SECONDS") or _DEFAULT_DRAIN_SECONDS
    try:
        return int(float(text))
    except ValueError as error:
        raise ConfigInvalid(f"TASKFORGE_DRAIN_SECONDS is {text!r}; it must be a number of seconds") from error


def _own_environment(plan: Plan, configuration: Configuration, role: str) -> dict[str, str]:
    database = {"TASKFORGE_DATABASE_URL": plan.cluster.url(f"taskforge_{role}")}
    valkey_url = f"unix://{plan.allocation.sockets / 'valkey.sock'}" if configuration.value("local.redis") else "none"
    redis = {"TASKFORGE_REDIS_URL": valkey_url}
    scheduler = {"TASKFORGE_SCHEDULER": plan.socket("scheduler")}
    keyring = {"TASKFORGE_KEYRING_FILE": str(plan.home.keyring_file)}
    match role:
        case "scheduler":
            return database | redis
        case "ingest":
            return database | scheduler | keyring
        case "executor":
            return redis | scheduler | keyring
        case _:
            token = str(configuration.file.get("contexts.local.token", ""))
            return database | scheduler | keyring | {"TASKFORGE_ADMIN_TOKEN_SHA256": token_digest(token)}
