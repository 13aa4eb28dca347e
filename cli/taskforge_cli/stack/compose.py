"""The Compose stack: what `taskforge init`, `up`, `down`, `restart`, `status` and `logs` do with Docker."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from taskforge_cli.stack import config, docker, envfile, lock, ports
from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.docker import Container
from taskforge_cli.stack.errors import ConfigInvalid, NoSuchProcess, NotInitialised, NotReady, PortTaken, StackError
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import CONFIG_VERSION, InitResult, Options, UpResult
from taskforge_cli.stack.logs import LogLine
from taskforge_cli.stack.shutdown import DownResult
from taskforge_cli.stack.start import OnReady
from taskforge_cli.stack.status import ProcessStatus, StackStatus

CONTEXT = "compose"
_READY_SECONDS = 180.0  # after Compose has returned: the build and the migration lie before that
_POLL_SECONDS = 0.5
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  compared with, not bound
_STATES = {"running": "RUNNING", "restarting": "BACKOFF", "created": "STOPPED"}


class ComposeStack:
    """The Compose deployment of one home folder; its `.env` and secrets are in `compose/`."""

    context = CONTEXT

    def __init__(self, home: Home | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.home = home or Home.locate(self._environ)
        self.folder = self.home.root / "compose"
        self._env_file = self.folder / ".env"

    def init(self, options: Options | None = None) -> InitResult:
        """Create what is missing, change nothing that exists. Starts nothing.

        Raises:
            DockerUnavailable, CheckoutMissing: the Compose runtime cannot run here.
            HomeUnusable, ConfigInvalid, PortTaken: the folder, its config or the port cannot be used.
        """
        options = options or Options()
        configuration = self._configuration(options)
        docker.locate(self._environ)
        script = self._deploy() / "compose-init"
        created = self.home.create()
        with lock.exclusive(self.home):
            created += self._prepare(script)
            notes = self._choose_port(configuration, fresh=not configuration.file.get(f"contexts.{CONTEXT}.server"))
            created += [] if configuration.file.text else [self.home.config_file]
            self._record(configuration, options)
        return InitResult(created=tuple(created), url=self._url(), notes=tuple(notes))

    def up(self, options: Options | None = None, *, on_ready: OnReady | None = None) -> UpResult:
        """Build the image, start what does not run, and wait until the edge answers.

        Raises:
            NotInitialised, ConfigInvalid, DockerUnavailable, CheckoutMissing, PortTaken: it cannot start.
            StackError, NotReady: it did not start.
        """
        self._require_home()
        options = options or Options()
        began = time.monotonic()
        programs, configuration = docker.locate(self._environ), self._configuration(options)
        with lock.exclusive(self.home):
            running = any(found.state == "running" for found in programs.containers())
            self._choose_port(configuration, fresh=False)
            self._record(configuration, options)
            programs.run(self._deploy(), self._env_file, *up_arguments(configuration.value("local.executors")))
            self._wait()
        if on_ready is not None:
            on_ready("compose", time.monotonic() - began)
        return UpResult(url=self._url(), started=not running, seconds=time.monotonic() - began, notes=())

    def down(self) -> DownResult:
        """Stop and remove the containers. The volumes stay."""
        self._require_home()
        programs = docker.locate(self._environ)
        with lock.exclusive(self.home):
            names = tuple(found.name for found in programs.containers() if found.state == "running")
            programs.run(self._deploy(), self._env_file, "down")
        return DownResult(stopped=names, leftovers=())

    def restart(self, names: Sequence[str] = (), *, on_ready: OnReady | None = None) -> UpResult:
        """Stop and start everything, or only the services of the named containers."""
        if not names:
            self.down()
            return self.up(on_ready=on_ready)
        self._require_home()
        began = time.monotonic()
        programs = docker.locate(self._environ)
        with lock.exclusive(self.home):
            services = {found.service for found in _chosen(programs.containers(), names)}
            programs.run(self._deploy(), self._env_file, "restart", *sorted(services))
            self._wait()
        return UpResult(url=self._url(), started=False, seconds=time.monotonic() - began, notes=())

    def scale(self, executors: int, *, on_ready: OnReady | None = None) -> UpResult:
        """Run that many executors from now on; recorded in the config."""
        return self.up(Options(executors=executors), on_ready=on_ready)

    def status(self) -> StackStatus:
        """Every container as Docker sees it."""
        self._require_home()
        found = docker.locate(self._environ).containers()
        url = self._url()
        rows = tuple(_row(container, url) for container in found if not _has_done_its_work(container))
        running = any(row.state == "RUNNING" for row in rows)
        return StackStatus(running=running, healthy=all(row.healthy for row in rows), url=url, processes=rows)

    def log_names(self, names: Sequence[str] = ()) -> list[str]:
        """Whose logs the names mean; all if none is named."""
        self._require_home()
        return [found.name for found in _chosen(docker.locate(self._environ).containers(), names)]

    def tail_logs(self, names: Sequence[str], lines: int) -> Iterator[LogLine]:
        """The last lines of each."""
        return self._logs(names, f"--tail={lines}")

    def follow_logs(self, names: Sequence[str]) -> Iterator[LogLine]:
        """Lines as they are written from now on."""
        return self._logs(names, "--tail=0", "--follow")

    def _logs(self, names: Sequence[str], *options: str) -> Iterator[LogLine]:
        services = sorted({name.partition("-")[0] for name in names})
        arguments = ("logs", "--no-color", *options, *services)
        for line in docker.locate(self._environ).lines(self._deploy(), self._env_file, *arguments):
            found = docker.split_line(line)
            if found is not None and found[0] in names:
                yield LogLine(*found)

    def _configuration(self, options: Options) -> Configuration:
        if options.redis is False:
            raise ConfigInvalid("the Compose stack always has Redis", hint="leave out --no-redis")
        return config.load(self.home, self._environ, options.flags())

    def _deploy(self) -> Path:
        return docker.find_deploy(Path(__file__).resolve().parent.parent)

    def _require_home(self) -> None:
        if not self._env_file.exists():
            hint = "taskforge init --runtime compose"
            raise NotInitialised(f"there is no Compose deployment in {self.home.root}", hint=hint)
        self.home.check_owner()

    def _prepare(self, script: Path) -> list[Path]:
        """Run deploy/compose-init, which says what it has created."""
        command = ["/bin/sh", str(script), str(self.folder)]
        done = subprocess.run(command, env=self._environ, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise StackError(f"deploy/compose-init failed: {done.stderr.strip()}")
        lines = (line.split(maxsplit=1) for line in done.stdout.splitlines())
        return [Path(path) for verb, path in lines if verb == "created"]

    def _choose_port(self, configuration: Configuration, *, fresh: bool) -> list[str]:
        """Put the edge's port into `.env`: the one that was asked for, or at first the next one that is free."""
        recorded = int(envfile.read(self._env_file).get("TASKFORGE_PORT") or ports.DEFAULT_PORT)
        asked = configuration.settings["local.port"].explicit
        wanted = int(configuration.value("local.port")) if asked else recorded
        if (wanted == recorded and not fresh) or ports.is_free(wanted):
            chosen = wanted
        elif asked:
            message = f"port {wanted} is taken by {ports.holder(wanted)}"
            raise PortTaken(message, hint="stop that program, or choose another port: taskforge up --port N")
        else:
            chosen = ports.find_free(wanted + 1)
        if chosen != recorded:
            envfile.put(self._env_file, "TASKFORGE_PORT", str(chosen))
        return [] if chosen == wanted else [f"port {wanted} is taken; using {chosen} instead"]

    def _record(self, configuration: Configuration, options: Options) -> None:
        """Write into the config file how the deployment is reached."""
        file, before = configuration.file, configuration.file.text
        defaults: dict[str, Any] = {"version": CONFIG_VERSION, "runtime": CONTEXT, "context": CONTEXT}
        for key, value in defaults.items():
            if file.get(key) is None or (options.runtime == CONTEXT and key != "version"):
                file.set(key, value)
        if options.executors is not None:
            file.set("local.executors", configuration.value("local.executors"))
        file.set(f"contexts.{CONTEXT}.server", self._url())
        token = (self.folder / "secrets" / "admin-token").read_text(encoding="utf-8").strip()
        file.set(f"contexts.{CONTEXT}.token", token)
        if file.text != before:
            file.save()

    def _url(self) -> str:
        host, port = self._address()
        return f"http://{host}:{port}"

    def _address(self) -> tuple[str, int]:
        values = envfile.read(self._env_file)
        bind = values.get("TASKFORGE_BIND", "")
        host = ports.LOOPBACK if bind in _EVERYWHERE else bind
        return host, int(values.get("TASKFORGE_PORT") or ports.DEFAULT_PORT)

    def _wait(self) -> None:
        """Wait until the edge answers."""
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(*self._address()):
            if time.monotonic() > deadline:
                raise NotReady(f"{self._url()} does not answer", hint="taskforge status, and taskforge logs")
            time.sleep(_POLL_SECONDS)


def up_arguments(executors: int) -> tuple[str, ...]:
    """Compose's arguments for `up`."""
    return ("up", "-d", "--build", "--scale", f"executor={executors}")


def _answers(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _chosen(containers: Sequence[Container], names: Sequence[str]) -> list[Container]:
    """The containers for names and services; all if none is named."""
    known = ", ".join(found.name for found in containers) or "none yet"
    for name in names:
        if not any(name in (found.name, found.service) for found in containers):
            raise NoSuchProcess(f"there is no container {name!r}", hint=f"there are: {known}")
    return [found for found in containers if not names or found.name in names or found.service in names]


def _has_done_its_work(container: Container) -> bool:
    return container.service == "migrate" and container.status.startswith("Exited (0)")


def _row(container: Container, url: str) -> ProcessStatus:
    starting = "(health: starting)" in container.status
    healthy = container.state == "running" and not starting and "(unhealthy)" not in container.status
    state = _STATES.get(container.state, container.state.upper())
    return ProcessStatus(
        name=container.name,
        state="STARTING" if starting else state,
        pid=None,
        listen=url if container.service == "envoy" else "",
        metrics="",
        memory_bytes=0,
        uptime_seconds=0.0,
        healthy=healthy,
        message="" if healthy else container.status,
    )
