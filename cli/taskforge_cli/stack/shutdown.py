"""Stopping: in the right order, with or without a living supervisor, and nothing is left."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from taskforge_cli.stack import processes
from taskforge_cli.stack.plan import STOP_PHASES
from taskforge_cli.stack.processes import Process
from taskforge_cli.stack.supervisor import Supervisor

_SERVICE_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DownResult:
    """What was stopped."""

    stopped: tuple[str, ...]  #: processes that the supervisor stopped, in order
    leftovers: tuple[str, ...]  #: processes that ran without a supervisor


def stop_all(supervisor: Supervisor, stack_id: str) -> DownResult:
    """Stop the stack and verify that no process of it is left."""
    stopped: list[str] = []
    if supervisor.is_running():
        for phase in STOP_PHASES:
            names = [
                name
                for name, info in supervisor.processes().items()
                if name.partition("-")[0] in phase and not info.is_down
            ]
            supervisor.stop(names)
            stopped += names
        supervisor.shut_down()
    return DownResult(stopped=tuple(stopped), leftovers=end_leftovers(stack_id))


def end_leftovers(stack_id: str) -> tuple[str, ...]:
    """End what runs without a supervisor, in the order of `down`. Returns the names."""
    if not stack_id or not processes.find(stack_id):
        return ()
    # A supervisor that does not answer would start again whatever is stopped.
    _end([process for process in processes.find(stack_id) if process.name == "supervisor"], patience=0.0)
    ended = []
    for phase in STOP_PHASES:
        found = [process for process in processes.find(stack_id) if process.name.partition("-")[0] in phase]
        _end(found, patience=_SERVICE_PATIENCE_SECONDS)
        ended += [process.name for process in found]
    rest = processes.find(stack_id)
    _end(rest, patience=1.0)
    return tuple(dict.fromkeys(ended + [process.name for process in rest if process.name]))


def _end(found: list[Process], *, patience: float) -> None:
    # PostgreSQL's children follow their postmaster; SIGTERM to one of them alone would only end a session.
    servers = [process.pid for process in found if process.name != "postgres"]
    if servers:
        processes.stop(servers, signal.SIGTERM, patience=patience)
    databases = [process for process in found if process.name == "postgres"]
    pids = {process.pid for process in databases}
    heads = [process.pid for process in databases if process.parent not in pids]
    if heads:
        processes.stop(heads, signal.SIGINT, patience=patience)
        processes.stop(pids, signal.SIGQUIT, patience=5.0)
