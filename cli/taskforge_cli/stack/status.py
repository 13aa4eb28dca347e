"""What runs: one row a process, from the supervisor, the kernel and the processes themselves."""

from __future__ import annotations

from dataclasses import dataclass

from taskforge_cli.stack import processes
from taskforge_cli.stack.plan import Plan, Program
from taskforge_cli.stack.ports import LOOPBACK
from taskforge_cli.stack.readiness import health_of
from taskforge_cli.stack.supervisor import ProcessInfo, Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process."""

    name: str
    state: str  #: RUNNING STARTING BACKOFF STOPPING STOPPED EXITED FATAL, or UNSUPERVISED: the supervisor has died
    pid: int | None
    listen: str  #: `unix:/path` or `host:port`
    metrics: str  #: `host:port`, or empty
    memory_bytes: int  #: PSS, with its children
    uptime_seconds: float
    healthy: bool
    message: str  #: why it does not run, if the supervisor knows


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """The whole stack."""

    running: bool  #: whether there is a supervisor, or a container that runs
    healthy: bool  #: whether every process is healthy
    url: str
    processes: tuple[ProcessStatus, ...]
    project: str = ""  #: the name of a Compose project

    @property
    def memory_bytes(self) -> int:
        """All processes together."""
        return sum(process.memory_bytes for process in self.processes)


def read(plan: Plan, supervisor: Supervisor) -> StackStatus:
    """Look at everything once."""
    infos = supervisor.processes()
    if not infos:
        return _without_supervisor(plan)
    healthy = health_of(plan)
    rows = [_row(program, infos.get(program.name), healthy[program.name]) for program in plan.programs]
    rows.append(_supervisor_row(supervisor, f"unix:{plan.allocation.sockets / 'supervisor.sock'}"))
    return StackStatus(running=True, healthy=all(row.healthy for row in rows), url=plan.url, processes=tuple(rows))


def _row(program: Program, info: ProcessInfo | None, healthy: bool) -> ProcessStatus:
    if info is None or info.pid == 0:
        return _down(program, info.state if info else "STOPPED", info.fault if info else "")
    # The supervisor calls the first second STARTING, whatever the process does by then.
    state = "RUNNING" if healthy and info.state == "STARTING" else info.state
    return _up(program, info.pid, state, healthy)


def _without_supervisor(plan: Plan) -> StackStatus:
    alive = {process.name: process.pid for process in reversed(processes.find(plan.allocation.stack_id))}
    healthy = health_of(plan) if alive else {}
    rows = [
        _up(program, alive[program.name], "UNSUPERVISED", healthy[program.name])
        if program.name in alive
        else _down(program, "STOPPED", "")
        for program in plan.programs
    ]
    return StackStatus(running=False, healthy=False, url=plan.url, processes=tuple(rows))


def _up(program: Program, pid: int, state: str, healthy: bool) -> ProcessStatus:
    return ProcessStatus(
        name=program.name,
        state=state,
        pid=pid,
        listen=program.listen,
        metrics=f"{LOOPBACK}:{program.metrics_port}" if program.metrics_port else "",
        memory_bytes=processes.tree_memory(pid),
        uptime_seconds=processes.uptime(pid),
        healthy=healthy,
        message="" if state != "UNSUPERVISED" else "runs without its supervisor; taskforge up puts that right",
    )


def _down(program: Program, state: str, message: str) -> ProcessStatus:
    return ProcessStatus(
        name=program.name,
        state=state,
        pid=None,
        listen=program.listen,
        metrics="",
        memory_bytes=0,
        uptime_seconds=0.0,
        healthy=False,
        message=message,
    )


def _supervisor_row(supervisor: Supervisor, listen: str) -> ProcessStatus:
    pid = supervisor.pid()
    return ProcessStatus(
        name="supervisor",
        state="RUNNING",
        pid=pid,
        listen=listen,
        metrics="",
        memory_bytes=processes.memory(pid),
        uptime_seconds=processes.uptime(pid),
        healthy=True,
        message="",
    )
