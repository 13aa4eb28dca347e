"""Readiness, asked for rather than waited out: every part is polled until it answers as it will answer its users."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taskforge_cli.stack import edge, postgres, valkey
from taskforge_cli.stack.errors import NotReady, StartFailed
from taskforge_cli.stack.plan import Plan, Program
from taskforge_cli.stack.ports import LOOPBACK
from taskforge_cli.stack.supervisor import ProcessInfo, Supervisor

_POLL_SECONDS = 0.015
_SUPERVISOR_POLL_SECONDS = 0.25
#: A service's exit code for an environment that it cannot use: trying again cannot help.
_CONFIGURATION_FAULT = 2
_LOG_TAIL_BYTES = 8192
_LOG_TAIL_LINES = 12

Check = Callable[[], bool]


def check_of(plan: Plan, program: Program) -> Check:
    """How to ask this process."""
    match program.role:
        case "postgres":
            return lambda: postgres.answers(plan.cluster)
        case "valkey":
            return lambda: valkey.answers(Path(program.listen.removeprefix("unix:")))
        case "edge":
            return lambda: edge.answers(plan.admin_socket)
        case _:
            return lambda: _says_ready(program.metrics_port or 0)


def _says_ready(port: int) -> bool:
    """What the gRPC health service would say too, without the third of a second that importing gRPC takes."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def serves(address: str) -> bool:
    """Ask a service's gRPC health service: slower, but what answers is the event loop that does the work."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2.0)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass(slots=True, kw_only=True)
class Watch:
    """Waits for processes, tells when each is ready, and notices those that die instead."""

    supervisor: Supervisor
    log_dir: Path
    deadline: float  #: by the monotonic clock
    on_ready: Callable[[str, float], None]
    pending: dict[str, Check]
    _started: float = field(default_factory=time.monotonic)
    _supervisor_asked: float = 0.0
    _stops: dict[str, set[int]] = field(default_factory=dict)

    def wait(self, names: set[str]) -> None:
        """Return when all of `names` are ready. Others that become ready meanwhile are told as well.

        Raises:
            StartFailed: a process ended twice, or refuses its configuration.
            NotReady: the time is over.
        """
        while True:
            for name in [name for name, check in self.pending.items() if check()]:
                del self.pending[name]
                self.on_ready(name, time.monotonic() - self._started)
            missing = names & self.pending.keys()
            if not missing:
                return
            self._look_for_failures()
            if time.monotonic() > self.deadline:
                raise NotReady(f"not ready in time: {', '.join(sorted(missing))}", hint="taskforge logs")
            time.sleep(_POLL_SECONDS)

    def _look_for_failures(self) -> None:
        now = time.monotonic()
        if now - self._supervisor_asked < _SUPERVISOR_POLL_SECONDS:
            return
        self._supervisor_asked = now
        found = self.supervisor.processes()
        if not found:
            raise StartFailed("the supervisor has gone", hint=f"its log: {self.log_dir / 'supervisord.log'}")
        for name in self.pending.keys() & found.keys():
            self._judge(found[name])

    def _judge(self, info: ProcessInfo) -> None:
        if info.state not in ("BACKOFF", "EXITED", "FATAL"):
            return
        stops = self._stops.setdefault(info.name, set())
        stops.add(info.stopped)
        if len(stops) > 1 or info.state == "FATAL" or info.exit_status == _CONFIGURATION_FAULT:
            said = log_tail(self.log_dir / f"{info.name}.log") or info.fault
            raise StartFailed(f"{info.name} does not start:\n{said}", hint=f"taskforge logs {info.name}")


def log_tail(path: Path) -> str:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:]).strip()


def health_of(plan: Plan) -> Mapping[str, bool]:
    """Ask everybody once."""
    return {
        program.name: serves(program.listen) if program.is_service else check_of(plan, program)()
        for program in plan.programs
    }
