"""supervisord: keeps the stack's processes alive, rotates their logs, and is asked over a Unix socket."""

from __future__ import annotations

import http.client
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskforge_cli.stack import processes
from taskforge_cli.stack.errors import StartFailed
from taskforge_cli.stack.files import write_private
from taskforge_cli.stack.plan import Plan, Program

_POLL_SECONDS = 0.01
_CALL_SECONDS = 10.0
_WANTED_FILES = 65536
_GONE = "NO_FILE"
#: Variables of the user's that the processes get; everything else stays outside.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """A process as the supervisor sees it."""

    name: str
    state: str  #: STOPPED STARTING RUNNING BACKOFF STOPPING EXITED FATAL UNKNOWN
    pid: int
    started: int  #: seconds since the epoch; 0 if never
    stopped: int
    exit_status: int
    fault: str

    @property
    def is_down(self) -> bool:
        """Whether there is no process and none is about to come."""
        return self.state in ("STOPPED", "EXITED", "FATAL", "UNKNOWN")


class Supervisor:
    """The supervisor of one stack."""

    def __init__(self, run_dir: Path, log_dir: Path, sockets: Path) -> None:
        self._configuration = run_dir / "supervisord.conf"
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._socket = sockets / "supervisor.sock"

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self._call("getState")["statecode"] == 1)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def pid(self) -> int:
        """Its process id."""
        return int(self._call("getPID"))

    def configure(self, plan: Plan) -> None:
        """Write the configuration; a running supervisor reads it with `apply`."""
        write_private(self._configuration, _render(self._socket, self._run_dir, self._log_dir, plan))

    def spawn(self, plan: Plan) -> None:
        """Start the supervisor, apart from this terminal. It listens when this returns.

        Raises:
            StartFailed: it refused its configuration or could not listen.
        """
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONUNBUFFERED": "1", **plan.service_environment}
        environment |= {processes.STACK_VARIABLE: plan.allocation.stack_id, processes.NAME_VARIABLE: "supervisor"}
        self._socket.unlink(missing_ok=True)
        # It forks itself away once its socket is open, so the end of this child means that it is there.
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self._run_dir,
            check=False,
        )
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip()[-2000:]
            raise StartFailed(f"the supervisor does not start: {said or 'it says nothing'}")

    def apply(self) -> None:
        """Make a running supervisor take over the written configuration: add, replace and remove processes."""
        added, changed, removed = self._call("reloadConfig")[0]
        self.stop([*changed, *removed])
        for name in (*changed, *removed):
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def processes(self) -> dict[str, ProcessInfo]:
        """All of them by name; empty if the supervisor does not answer."""
        try:
            rows = self._call("getAllProcessInfo")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return {}
        return {row["name"]: _info(row) for row in rows}

    def start(self, names: Iterable[str]) -> None:
        """Start those that are down, all at once; does not wait."""
        known = self.processes()
        for name in names:
            if name in known and known[name].is_down:
                self._call("startProcess", name, False)

    def signal_stop(self, names: Iterable[str]) -> None:
        """Ask those that run to stop, all at once; does not wait."""
        known = self.processes()
        for name in names:
            if name in known and not known[name].is_down:
                try:
                    self._call("stopProcess", name, False)
                except xmlrpc.client.Fault as fault:
                    if "NOT_RUNNING" not in fault.faultString:
                        raise

    def stop(self, names: Iterable[str]) -> None:
        """Stop them and wait; the supervisor kills what does not stop in its time."""
        waiting = list(names)
        self.signal_stop(waiting)
        while any(name in waiting and not info.is_down for name, info in self.processes().items()):
            time.sleep(_POLL_SECONDS)

    def shut_down(self) -> None:
        """End the supervisor itself, with whatever still runs."""
        try:
            pid = self.pid()
            self._call("shutdown")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return
        processes.stop([pid], signal.SIGTERM, patience=5.0)

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            with xmlrpc.client.ServerProxy("http://supervisor", transport=_Transport(self._socket)) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if method in ("startProcess", "addProcessGroup") and _GONE not in fault.faultString:
                raise StartFailed(f"{arguments[0]} does not start: {fault.faultString}") from fault
            raise


def _info(row: Mapping[str, Any]) -> ProcessInfo:
    return ProcessInfo(
        name=row["name"],
        state=row["statename"],
        pid=row["pid"],
        started=row["start"],
        stopped=row["stop"],
        exit_status=row["exitstatus"],
        fault=row["spawnerr"],
    )


def _render(socket_path: Path, run_dir: Path, log_dir: Path, plan: Plan) -> str:
    sections = [
        _section("unix_http_server", {"file": socket_path, "chmod": "0700"}),
        _section(
            "supervisord",
            {
                "nodaemon": "false",
                "umask": "077",
                "logfile": log_dir / "supervisord.log",
                "logfile_maxbytes": "1MB",
                "logfile_backups": "1",
                "pidfile": run_dir / "supervisord.pid",
                "minfds": str(_file_limit()),
                "minprocs": "1",
                "identifier": f"taskforge-{plan.allocation.stack_id}",
                **({"user": "root"} if os.geteuid() == 0 else {}),
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        *(_program(program, log_dir) for program in plan.programs),
    ]
    return "\n".join(sections)


def _program(program: Program, log_dir: Path) -> str:
    variables = {**program.environment, processes.NAME_VARIABLE: program.name}
    return _section(
        f"program:{program.name}",
        {
            "command": shlex.join(program.command),
            "environment": ",".join(f'{name}="{value}"' for name, value in variables.items()),
            "directory": program.folder,
            # The servers start with the supervisor; the services when the schema is known to fit.
            "autostart": str(not program.is_service).lower(),
            "autorestart": "true",
            "startsecs": "1",
            # Each failure waits a second longer than the one before: a service comes back by itself even after hours.
            "startretries": "1000000",
            "priority": str(100 - 10 * program.phase),
            "stopsignal": program.stop_signal,
            "stopwaitsecs": str(program.stop_seconds),
            "redirect_stderr": "true",
            "stdout_logfile": log_dir / f"{program.name}.log",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        },
    )


def _section(name: str, options: Mapping[str, object]) -> str:
    lines = [f"{option}={str(value).replace('%', '%%')}" for option, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _file_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("supervisor", timeout=_CALL_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """One connection a call: the supervisor may be replaced between two."""
        connection = _Connection(self._path)
        self._connection = host, connection  # what closing the proxy closes
        return connection
