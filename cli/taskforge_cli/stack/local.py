"""The local stack: what `taskforge init`, `up`, `down`, `restart`, `scale` and `status` do."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskforge_cli.stack import allocation, config, install, lock, plan, ports, postgres, shutdown, started, status
from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.errors import NoSuchProcess, NotInitialised, NotRunning, StartFailed
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.logs import LogLine, chosen, follow, tail
from taskforge_cli.stack.plan import Plan
from taskforge_cli.stack.secrets import ensure_secrets, new_admin_token
from taskforge_cli.stack.start import OnReady, Start
from taskforge_cli.stack.supervisor import Supervisor

CONFIG_VERSION = 1
START_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a command was told; None means not told."""

    runtime: str | None = None  #: for `init`: `local` or `compose`
    port: int | None = None
    redis: bool | None = None
    executors: int | None = None

    def flags(self) -> dict[str, Any]:
        """As config keys."""
        return {
            "runtime": self.runtime,
            "local.port": self.port,
            "local.redis": self.redis,
            "local.executors": self.executors,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class InitResult:
    """What `init` has made."""

    created: tuple[Path, ...]  #: empty: everything was there
    url: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpResult:
    """A stack that is ready."""

    url: str
    started: bool  #: False: it was running
    seconds: float
    notes: tuple[str, ...]  #: what the user should know, such as another port


class LocalStack:
    """The stack of one home folder."""

    context = "local"

    def __init__(self, home: Home | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.home = home or Home.locate(self._environ)

    def init(self, options: Options | None = None) -> InitResult:
        """Create what is missing, change nothing that exists. Starts nothing.

        Raises:
            HomeUnusable, ConfigInvalid: the folder or its config cannot be used.
            PortTaken: `options.port` is taken.
            RuntimeMissing: a program of the local runtime is not installed.
        """
        options = options or Options()
        if self._configuration(options).value("runtime") == "local":
            install.locate()
        created = self.home.create()
        notes: list[str] = []
        with lock.exclusive(self.home):
            configuration = self._configuration(options)
            file, before = configuration.file, configuration.file.text
            _fill_in(file, options)
            allocation.record_identity(self.home, file, self._environ)
            created += ensure_secrets(self.home)
            if not file.get("contexts.local.server"):
                notes = allocation.record_port(configuration)
            if file.text != before:
                file.save()
                created += [] if before else [self.home.config_file]
        url = str(file.get("contexts.local.server", ""))
        return InitResult(created=tuple(created), url=url, notes=tuple(notes))

    def up(
        self, options: Options | None = None, *, on_ready: OnReady | None = None, timeout: float = START_SECONDS
    ) -> UpResult:
        """Start what does not run and wait until everything is ready. Harmless when it already is.

        Either everything is ready when this returns, or an error is raised and what this call started is stopped.

        Raises:
            NotInitialised, ConfigInvalid, RuntimeMissing, PortTaken, RootUnsupported: it cannot start.
            StartFailed, NotReady: it did not start.
        """
        self._require_home()
        began = time.monotonic()
        with lock.exclusive(self.home):
            configuration = self._configuration(options or Options())
            supervisor = self._supervisor(configuration.file)
            running = supervisor.is_running()
            if not running:
                shutdown.end_leftovers(allocation.recorded_id(configuration.file))
            try:
                wanted, notes = self._start(configuration, began + timeout, on_ready, running=running)
            except StartFailed:
                if running or not self._lost_a_port(configuration):
                    raise
                wanted, notes = self._start(configuration, began + timeout, on_ready, running=False)
            notes += started.record(self.home, configuration, keep=running)
        seconds = time.monotonic() - began
        return UpResult(url=wanted.url, started=not running, seconds=seconds, notes=tuple(notes))

    def down(self) -> shutdown.DownResult:
        """Stop everything in order and make sure that no process is left. Harmless when nothing runs.

        Raises:
            NotInitialised: there is no home folder.
        """
        self._require_home()
        with lock.exclusive(self.home):
            file = ConfigFile.read(self.home.config_file)
            done = shutdown.stop_all(self._supervisor(file), allocation.recorded_id(file))
            allocation.forget_sockets(self.home, file)
            return done

    def restart(
        self, names: Sequence[str] = (), *, on_ready: OnReady | None = None, timeout: float = START_SECONDS
    ) -> UpResult:
        """Stop and start everything, or only the named processes.

        Raises:
            NotRunning, NoSuchProcess: named processes cannot be restarted.
            and what `up` and `down` raise.
        """
        self._require_home()
        if not names:
            options = self._started()
            self.down()
            return self.up(options, on_ready=on_ready, timeout=timeout)
        began = time.monotonic()
        with lock.exclusive(self.home):
            configuration = self._configuration(self._started())
            supervisor = self._supervisor(configuration.file)
            if not supervisor.is_running():
                raise NotRunning("the stack is down", hint="taskforge up")
            wanted, notes = self._plan(configuration, running=True)
            programs = _expand(wanted, names)
            supervisor.stop(programs)
            supervisor.start(programs)
            start = Start(wanted, supervisor, began + timeout, on_ready or (lambda name, seconds: None))
            start.wait_for(programs)
        return UpResult(url=wanted.url, started=False, seconds=time.monotonic() - began, notes=tuple(notes))

    def scale(self, executors: int, *, on_ready: OnReady | None = None, timeout: float = START_SECONDS) -> UpResult:
        """Run that many executors from now on; recorded in the config. Starts the stack if it is down.

        Executors that go finish their steps first, as long as the drain time allows.
        """
        self._require_home()
        with lock.exclusive(self.home):
            configuration = self._configuration(Options(executors=executors))
            if configuration.file.set("local.executors", configuration.value("local.executors")):
                configuration.file.save()
        return self.up(Options(executors=executors), on_ready=on_ready, timeout=timeout)

    def status(self) -> status.StackStatus:
        """Every process with its state, place, memory and health.

        Raises:
            NotInitialised: there is no home folder.
        """
        self._require_home()
        configuration = self._configuration(self._started())
        supervisor = self._supervisor(configuration.file)
        return status.read(self._recorded_plan(configuration), supervisor)

    def log_names(self, names: Sequence[str] = ()) -> list[str]:
        """Whose logs the names mean; all if none is named."""
        return chosen(self.home, names)

    def tail_logs(self, names: Sequence[str], lines: int) -> Iterable[LogLine]:
        """The last lines of each."""
        return tail(self.home, names, lines)

    def follow_logs(self, names: Sequence[str]) -> Iterable[LogLine]:
        """Lines as they are written from now on."""
        return follow(self.home, names)

    def query_database(self, statement: str) -> str:
        """Run SQL on the stack's database as its owner; one row a line, columns separated by `|`."""
        return postgres.query(self._recorded_plan(self._configuration(self._started())).cluster, statement)

    def _configuration(self, options: Options) -> Configuration:
        return config.load(self.home, self._environ, options.flags())

    def _start(
        self, configuration: Configuration, deadline: float, on_ready: OnReady | None, *, running: bool
    ) -> tuple[Plan, list[str]]:
        wanted, notes = self._plan(configuration, running=running)
        supervisor = self._supervisor(configuration.file)
        Start(wanted, supervisor, deadline, on_ready or (lambda name, seconds: None)).run(running=running)
        return wanted, notes

    def _lost_a_port(self, configuration: Configuration) -> bool:
        """Whether another program took one of the chosen ports before its process could listen on it."""
        return any(not ports.is_free(port) for port in _recorded_ports(configuration.file) if port)

    def _started(self) -> Options:
        """What the stack was last started with."""
        found = started.read(self.home)
        return Options(redis=found.get("redis"), executors=found.get("executors"))

    def _require_home(self) -> None:
        if not self.home.config_file.exists():
            raise NotInitialised(f"there is no TaskForge home in {self.home.root}", hint="taskforge init")
        self.home.check_owner()

    def _supervisor(self, file: ConfigFile) -> Supervisor:
        return Supervisor(self.home.run_dir, self.home.log_dir, allocation.recorded_sockets(self.home, file))

    def _plan(self, configuration: Configuration, *, running: bool) -> tuple[Plan, list[str]]:
        self.home.create()
        ensure_secrets(self.home)
        _fill_in(configuration.file, Options())
        allocation.record_identity(self.home, configuration.file, self._environ)
        in_use: Collection[int] = _recorded_ports(configuration.file) if running else ()
        found, notes = allocation.allocate(self.home, configuration, plan.process_names(configuration), in_use)
        return plan.build(self.home, configuration, found, install.locate()), notes

    def _recorded_plan(self, configuration: Configuration) -> Plan:
        """The plan as it was last started: nothing is chosen or written."""
        file = configuration.file
        names = plan.process_names(configuration)
        found = allocation.Allocation(
            stack_id=allocation.recorded_id(file),
            port=int(file.get("local.port", 0)),
            metrics={name: int(file.get(f"local.ports.{name}", 0)) for name in names},
            sockets=allocation.recorded_sockets(self.home, file),
        )
        return plan.build(self.home, configuration, found, install.locate())


def _fill_in(file: ConfigFile, options: Options) -> None:
    """Write what a config file must have and this one lacks; options of `init` are recorded for later starts."""
    defaults: dict[str, Any] = {"version": CONFIG_VERSION, "runtime": "local", "context": "local"}
    for key, value in defaults.items():
        if file.get(key) is None:
            file.set(key, value)
    if not file.get("contexts.local.token"):
        file.set("contexts.local.token", new_admin_token())
    for key, value in options.flags().items():
        if value is not None:
            file.set(key, value)
    if options.port is not None:
        file.set("local.port_pinned", True)
    if options.runtime == "local" and file.get("context") == "compose":
        file.set("context", "local")


def _recorded_ports(file: ConfigFile) -> frozenset[int]:
    return frozenset({int(file.get("local.port", 0)), *file.get("local.ports", {}).values()})


def _expand(wanted: Plan, names: Sequence[str]) -> list[str]:
    """Process names for names and roles: `executor` means every executor."""
    expanded = []
    for name in names:
        found = [program.name for program in wanted.programs if name in (program.name, program.role)]
        if not found:
            known = ", ".join(program.name for program in wanted.programs)
            raise NoSuchProcess(f"there is no process {name!r}", hint=f"there are: {known}")
        expanded += found
    return expanded
