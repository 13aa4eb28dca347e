"""The Compose stack: what `taskforge init`, `up`, `down`, `restart`, `status` and `logs` do with Docker."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from taskforge_cli.stack import compose_faults, compose_status, config, docker, envfile, lock, ports
from taskforge_cli.stack.compose_edge import Edge
from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.docker import Container, Deployment, Docker
from taskforge_cli.stack.errors import (
    ConfigInvalid,
    HomeUnusable,
    NoSuchProcess,
    NotInitialised,
    NotReady,
    NotRunning,
    PortTaken,
    StackError,
)
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import CONFIG_VERSION, InitResult, Options, UpResult
from taskforge_cli.stack.logs import LogLine
from taskforge_cli.stack.shutdown import DownResult
from taskforge_cli.stack.start import OnReady
from taskforge_cli.stack.status import StackStatus

CONTEXT = "compose"
PROJECT = "taskforge"
_PROJECT_VARIABLE = "COMPOSE_PROJECT_NAME"
_READY_SECONDS = 180.0  # after Compose has returned: the build and the migration lie before that
_POLL_SECONDS = 0.5
_SETTLED_SECONDS = 3.0  # a service that finds a fault in its environment ends before that


class ComposeStack:
    """The Compose deployment of one home folder; its `.env` and secrets are in `compose/`."""

    context = CONTEXT

    def __init__(self, home: Home | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.home = home or Home.locate(self._environ)
        self.folder = self.home.root / "compose"
        self.env_file = self.folder / ".env"

    @property
    def project(self) -> str:
        """The Compose project: containers, networks and the volume are named after it."""
        return envfile.read(self.env_file).get(_PROJECT_VARIABLE) or PROJECT

    @property
    def secrets_dir(self) -> Path:
        """Keys and tokens."""
        return self.folder / (envfile.read(self.env_file).get("TASKFORGE_SECRETS") or "secrets")

    def edge(self) -> Edge:
        """Where the server is reached.

        Raises:
            ConfigInvalid: `.env` names no port.
        """
        return Edge.read(self.env_file)

    def init(self, options: Options | None = None) -> InitResult:
        """Create what is missing, change nothing that exists. Starts nothing.

        Raises:
            DockerUnavailable, CheckoutMissing: the Compose runtime cannot run here.
            HomeUnusable, ConfigInvalid, PortTaken: the folder, its config or the port cannot be used.
        """
        options = options or Options()
        configuration = self._configuration(options)
        programs, script = docker.locate(self._environ), self._deploy() / "compose-init"
        created = self.home.create()
        with lock.exclusive(self.home):
            created += self._prepare(script)
            fresh = not configuration.file.get(f"contexts.{CONTEXT}.server")
            notes = self._choose_port(configuration, programs.containers(self.project), fresh=fresh)
            created += [] if configuration.file.text else [self.home.config_file]
            self._record(configuration, options)
        return InitResult(created=tuple(created), url=self.edge().url, notes=tuple(notes))

    def up(self, options: Options | None = None, *, on_ready: OnReady | None = None) -> UpResult:
        """Build the image, start what does not run, and wait until the server answers.

        Raises:
            NotInitialised, HomeUnusable, ConfigInvalid, DockerUnavailable, CheckoutMissing, PortTaken: it cannot start.
            ImageMissing, StartFailed, StackError, NotReady: it did not start.
        """
        self._require_home()
        options = options or Options()
        began = time.monotonic()
        programs, configuration = docker.locate(self._environ), self._configuration(options)
        with lock.exclusive(self.home):
            before = programs.containers(self.project)
            self._choose_port(configuration, before, fresh=False)
            self._record(configuration, options)
            self._start(programs, configuration)
        if on_ready is not None:
            on_ready("compose", time.monotonic() - began)
        started = all(found.state != "running" for found in before)
        return UpResult(url=self.edge().url, started=started, seconds=time.monotonic() - began, notes=())

    def down(self) -> DownResult:
        """Stop and remove the containers. The volumes stay."""
        self._require_home()
        programs = docker.locate(self._environ)
        with lock.exclusive(self.home):
            found = programs.containers(self.project)
            if found or programs.has_networks(self.project):
                programs.run(self._deployment(), "down")
        return DownResult(stopped=tuple(each.name for each in found if each.state == "running"), leftovers=())

    def restart(self, names: Sequence[str] = (), *, on_ready: OnReady | None = None) -> UpResult:
        """Stop and start everything, or only the named containers, one after the other.

        Raises:
            NotRunning, NoSuchProcess: the named containers cannot be restarted.
            and what `up` and `down` raise.
        """
        if not names:
            self.down()
            return self.up(on_ready=on_ready)
        self._require_home()
        began = time.monotonic()
        with lock.exclusive(self.home):
            programs, found = self._running()
            # Docker takes single containers; Compose would restart all executors for one of them.
            programs.do("restart", *(each.id for each in _chosen(found, names)))
            self._wait(programs)
        return UpResult(url=self.edge().url, started=False, seconds=time.monotonic() - began, notes=())

    def scale(self, executors: int, *, on_ready: OnReady | None = None) -> UpResult:
        """Run that many executors from now on; recorded in the config."""
        return self.up(Options(executors=executors), on_ready=on_ready)

    def containers(self) -> list[Container]:
        """Every container as Docker sees it."""
        self._require_home()
        return docker.locate(self._environ).containers(self.project)

    def status(self) -> StackStatus:
        """Every container that there is or should be."""
        executors = self._configuration(Options()).value("local.executors")
        url = self.edge().url
        return compose_status.read(self.containers(), project=self.project, url=url, executors=executors)

    def log_names(self, names: Sequence[str] = ()) -> list[str]:
        """Whose logs the names mean; all if none is named."""
        return [found.name for found in _chosen(self._running()[1], names)]

    def tail_logs(self, names: Sequence[str], lines: int) -> Iterator[LogLine]:
        """The last lines of each."""
        return self._logs(names, f"--tail={lines}")

    def follow_logs(self, names: Sequence[str]) -> Iterator[LogLine]:
        """Lines as they are written from now on."""
        return self._logs(names, "--tail=0", "--follow")

    def _logs(self, names: Sequence[str], *options: str) -> Iterator[LogLine]:
        services = sorted({name.partition("-")[0] for name in names})
        programs = docker.locate(self._environ)
        for line in programs.lines(self._deployment(), "logs", "--no-color", *options, *services):
            found = docker.split_line(line)
            if found is not None and found[0] in names:
                yield LogLine(*found)

    def _running(self) -> tuple[Docker, list[Container]]:
        self._require_home()
        programs = docker.locate(self._environ)
        if not (found := programs.containers(self.project)):
            raise NotRunning("the stack is down: it has no containers, and so no logs", hint="taskforge up")
        return programs, found

    def _configuration(self, options: Options) -> Configuration:
        if options.redis is False:
            raise ConfigInvalid("the Compose stack always has Redis", hint="leave out --no-redis")
        return config.load(self.home, self._environ, options.flags())

    def _deploy(self) -> Path:
        return docker.find_deploy(Path(__file__).resolve().parent.parent)

    def _deployment(self) -> Deployment:
        return Deployment(deploy=self._deploy(), env_file=self.env_file, project=self.project)

    def _require_home(self) -> None:
        if not self.env_file.exists():
            message = f"there is no Compose deployment in {self.home.root}"
            raise NotInitialised(message, hint="taskforge init --runtime compose")
        self.home.check_owner()

    def _require_secrets(self) -> None:
        """Compose would make an empty folder of a file that is missing."""
        for name in ("admin-token", "internal-token", "keyring.json"):
            if not (self.secrets_dir / name).is_file():
                raise HomeUnusable(f"{self.secrets_dir / name} is missing", hint="restore it from a backup")

    def _prepare(self, script: Path) -> list[Path]:
        """Run deploy/compose-init, which says what it has created."""
        command = ["/bin/sh", str(script), str(self.folder)]
        environ = {**self._environ, _PROJECT_VARIABLE: project_of(self.home.root)}
        done = subprocess.run(command, env=environ, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise StackError(f"deploy/compose-init failed: {done.stderr.strip()}")
        lines = (line.split(maxsplit=1) for line in done.stdout.splitlines())
        return [Path(path) for verb, path in lines if verb == "created"]

    def _choose_port(self, configuration: Configuration, found: Sequence[Container], *, fresh: bool) -> list[str]:
        """Put the edge's port into `.env`: the one that was asked for, or at first the next one that is free.

        Later it stays: whoever calls this server, such as the proxy in front of it, knows the port.
        """
        edge = self.edge()
        asked = configuration.settings["local.port"].explicit
        chosen = wanted = int(configuration.value("local.port")) if asked else edge.port
        if not any(wanted in each.ports for each in found) and not edge.is_free(wanted):
            if asked or not fresh:
                message = f"port {wanted} is taken by {ports.holder(wanted)}"
                raise PortTaken(message, hint="stop that program, or choose another port: taskforge up --port N")
            chosen = ports.find_free(wanted + 1)
        if chosen != edge.port:
            envfile.put(self.env_file, "TASKFORGE_PORT", str(chosen))
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
        file.set(f"contexts.{CONTEXT}.server", self.edge().url)
        file.set(f"contexts.{CONTEXT}.token", self._token())
        if file.text != before:
            file.save()

    def _start(self, programs: Docker, configuration: Configuration) -> None:
        self._require_secrets()
        deployment = self._deployment()
        try:
            programs.run(deployment, *up_arguments(configuration.value("local.executors")))
        except StackError as failure:
            raise compose_faults.explain(programs, deployment, failure) from failure
        self._wait(programs)

    def _token(self) -> str:
        self._require_secrets()
        return (self.secrets_dir / "admin-token").read_text(encoding="utf-8").strip()

    def _wait(self, programs: Docker) -> None:
        """Wait until the server answers through its edge and no container has died on the way."""
        edge, token = self.edge(), self._token()
        deadline = time.monotonic() + _READY_SECONDS
        while not (edge.is_ready(token) and self._has_settled(programs)):
            if time.monotonic() > deadline:
                raise NotReady(f"{edge.url} does not answer", hint="taskforge status, and taskforge logs")
            time.sleep(_POLL_SECONDS)

    def _has_settled(self, programs: Docker) -> bool:
        """Whether every container has run for long enough to tell that it can.

        Raises:
            StartFailed: one cannot.
        """
        found = programs.containers(self.project)
        # Not what health checks say: they may still speak of what was before.
        failure = compose_faults.started_badly({each.name: each.death for each in found})
        if failure is not None:
            raise failure
        return all(each.state != "running" or each.uptime_seconds >= _SETTLED_SECONDS for each in found)


def project_of(root: Path) -> str:
    """The project of a home folder: each but the default one has its own, so that two share no database."""
    if root == Path.home() / ".taskforge":
        return PROJECT
    return f"{PROJECT}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"


def up_arguments(executors: int) -> tuple[str, ...]:
    """Compose's arguments for `up`."""
    return ("up", "-d", "--build", "--scale", f"executor={executors}")


def _chosen(containers: Sequence[Container], names: Sequence[str]) -> list[Container]:
    """The containers for names and services; all if none is named."""
    known = ", ".join(found.name for found in containers) or "none yet"
    for name in names:
        if not any(name in (found.name, found.service) for found in containers):
            raise NoSuchProcess(f"there is no container {name!r}", hint=f"there are: {known}")
    return [found for found in containers if not names or found.name in names or found.service in names]
