"""The stack's processes as the kernel sees them, also those that no supervisor knows any more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
#: Set in every process of a stack: the stack's id and the process's name.
STACK_VARIABLE = "TASKFORGE_STACK"
NAME_VARIABLE = "TASKFORGE_PROCESS"
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A living process. `name` is empty for one that was not recognised by itself."""

    pid: int
    parent: int
    name: str


def cluster_name(stack_id: str) -> str:
    """PostgreSQL's `cluster_name`, which its processes show in their titles."""
    return f"taskforge-{stack_id}"


def find(stack_id: str) -> list[Process]:
    """Every process of a stack, with all descendants.

    PostgreSQL overwrites its environment with its title, so it is known by the title. The others carry a variable.
    """
    everything = {process.pid: process for process in _all(stack_id)}
    wanted = {pid for pid, process in everything.items() if process.name}
    grown = True
    while grown:
        below = {pid for pid, process in everything.items() if process.parent in wanted} - wanted
        wanted |= below
        grown = bool(below)
    return [everything[pid] for pid in sorted(wanted) if pid != os.getpid()]


def find_postgres(stack_id: str) -> list[Process]:
    """PostgreSQL's processes of a stack."""
    return [process for process in find(stack_id) if process.name == "postgres"]


def is_alive(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    found = _stat(pid)
    return found is not None and found[0] not in "ZX"


def stop(pids: Iterable[int], number: signal.Signals, *, patience: float) -> bool:
    """Send a signal and wait, then kill. `patience` is in seconds. Returns whether SIGKILL was needed."""
    waiting = [pid for pid in pids if _send(pid, number)]
    if _all_gone(waiting, patience):
        return False
    for pid in waiting:
        _send(pid, signal.SIGKILL)
    _all_gone(waiting, 5.0)
    return True


def memory(pid: int) -> int:
    """Bytes of memory: the process's fair share (PSS) if the kernel shows it, else its resident set."""
    with suppress(OSError, ValueError, IndexError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, IndexError):
        return int((PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0


def tree_memory(pid: int) -> int:
    """Bytes of memory of a process and its descendants."""
    parents: dict[int, list[int]] = {}
    for found in _pids():
        stat = _stat(found)
        if stat:
            parents.setdefault(stat[1], []).append(found)
    total, todo = 0, [pid]
    while todo:
        current = todo.pop()
        total += memory(current)
        todo += parents.get(current, [])
    return total


def uptime(pid: int) -> float:
    """Seconds since the process started."""
    with suppress(OSError, ValueError, IndexError):
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        booted = float((PROC / "uptime").read_text(encoding="ascii").split()[0])
        return booted - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _all(stack_id: str) -> Iterator[Process]:
    for pid in _pids():
        stat = _stat(pid)
        if stat and stat[0] not in "ZX":
            yield Process(pid=pid, parent=stat[1], name=_name(pid, stack_id))


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(PROC) if entry.isdecimal()]  # noqa: PTH208  a fifth of iterdir's time


def _name(pid: int, stack_id: str) -> str:
    cluster = cluster_name(stack_id)
    with suppress(OSError):
        command = (PROC / str(pid) / "cmdline").read_bytes()
        if command.startswith(f"postgres: {cluster}:".encode()) or f"\0cluster_name={cluster}\0".encode() in command:
            return "postgres"
        variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        if f"{STACK_VARIABLE}={stack_id}".encode() in variables:
            prefix = f"{NAME_VARIABLE}=".encode()
            return next((item[len(prefix) :].decode() for item in variables if item.startswith(prefix)), "supervisor")
    return ""


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent."""
    with suppress(OSError, ValueError, IndexError):
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[1])
    return None


def _send(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False


def _all_gone(pids: list[int], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
