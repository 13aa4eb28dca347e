"""Docker as the Compose runtime uses it: its programs, its command lines, and what it says about containers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskforge_cli.stack.config import CLI_VARIABLES
from taskforge_cli.stack.errors import CheckoutMissing, DockerUnavailable, StackError

_ANSWER_SECONDS = 20.0
_ATTEMPTS = 3  # a container may go between two questions
_LABEL = "com.docker.compose"
_NUMBERED = re.compile(r"(?P<service>.+)[-_](?P<number>\d+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What Compose is told about: the file, its variables, and under which name."""

    deploy: Path  #: the folder of compose.yaml
    env_file: Path
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container of the project."""

    id: str
    name: str  #: the service; executors are numbered, as in the local stack
    service: str
    state: str  #: Docker's word: created running restarting exited paused dead
    health: str  #: starting, healthy or unhealthy; empty without a health check
    exit_code: int
    out_of_memory: bool
    uptime_seconds: float
    ports: frozenset[int]  #: published on this machine
    error: str  #: why Docker could not start it

    @property
    def death(self) -> str:
        """Why it does not run; empty while it does, and when its work is done."""
        if self.error:
            return self.error
        if self.state in ("exited", "restarting", "dead") and (self.exit_code or self.service != "migrate"):
            return f"exit code {self.exit_code}" + (", out of memory" if self.out_of_memory else "")
        return ""

    @property
    def fault(self) -> str:
        """Why it does not do its work; empty while it does, and when its work is done."""
        return self.death or ("its health check fails" if self.health == "unhealthy" else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Docker's programs, found and answering."""

    program: str
    compose: tuple[str, ...]  #: `docker compose` or `docker-compose`
    environ: Mapping[str, str] = field(repr=False)

    def run(self, deployment: Deployment, *arguments: str) -> None:
        """Run Compose; what it writes goes to standard error.

        Raises:
            StackError: it failed.
        """
        command = compose_line(self.compose, deployment, *arguments)
        done = subprocess.run(command, env=self.environ, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            shown = " ".join([Path(self.compose[0]).name, *self.compose[1:], arguments[0]])
            raise StackError(f"{shown} ended with exit code {done.returncode}", hint="what it wrote says why")

    def lines(self, deployment: Deployment, *arguments: str) -> Iterator[str]:
        """What Compose writes, as it comes; it ends with the caller."""
        command = compose_line(self.compose, deployment, *arguments)
        with subprocess.Popen(
            command,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                yield from process.stdout or ()
            finally:
                process.terminate()

    def ask(self, *arguments: str) -> str:
        """What Docker answers.

        Raises:
            DockerUnavailable: it does not, or refuses.
        """
        return _ask([self.program, *arguments], self.environ)

    def do(self, *arguments: str) -> None:
        """Have Docker do what takes its time.

        Raises:
            StackError: it could not.
        """
        command = [self.program, *arguments]
        done = subprocess.run(
            command, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise StackError(
                f"docker {arguments[0]} ended with exit code {done.returncode}", hint="what it wrote says why"
            )

    def ask_compose(self, deployment: Deployment, *arguments: str) -> str:
        """What Compose answers.

        Raises:
            DockerUnavailable: it does not, or refuses.
        """
        return _ask(compose_line(self.compose, deployment, *arguments), self.environ)

    def containers(self, project: str) -> list[Container]:
        """The project's containers. Asked of Docker itself: both generations of Compose print other tables."""
        # What `compose run` has started has no part in the stack.
        chosen = [f"--filter=label={_LABEL}.{label}" for label in (f"project={project}", "oneoff=False")]
        for attempt in range(1, _ATTEMPTS + 1):
            ids = self.ask("ps", "--all", "--quiet", "--no-trunc", *chosen).split()
            try:
                # Not by a template: what a missing field does to it depends on the daemon's age.
                found = json.loads(self.ask("inspect", "--type=container", *ids)) if ids else []
            except DockerUnavailable:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return sorted(map(_container, found), key=lambda container: container.name)
        raise AssertionError("unreachable")

    def has_networks(self, project: str) -> bool:
        """Whether there are networks of the project; they outlive a start that failed."""
        return bool(self.ask("network", "ls", "--quiet", f"--filter=label={_LABEL}.project={project}").split())


def locate(environ: Mapping[str, str]) -> Docker:
    """Find Docker and Compose and make sure that the daemon answers.

    Raises:
        DockerUnavailable: one of them is missing, or the daemon does not answer.
    """
    path = environ.get("PATH", "")
    program = shutil.which("docker", path=path)
    if program is None:
        raise DockerUnavailable(
            "Docker is not installed", hint="install it, or run without it: taskforge init --runtime local"
        )
    # What configures this command line would override the deployment's own `.env`.
    passed = {name: value for name, value in environ.items() if name not in CLI_VARIABLES}
    _ask([program, "version", "--format", "{{.Server.Version}}"], passed)
    with suppress(DockerUnavailable):
        _ask([program, "compose", "version"], passed)
        return Docker(program=program, compose=(program, "compose"), environ=passed)
    older = shutil.which("docker-compose", path=path)
    if older is None:
        raise DockerUnavailable("Docker has no Compose", hint="install Docker's Compose plugin, or docker-compose")
    return Docker(program=program, compose=(older,), environ=passed)


def find_deploy(package: Path) -> Path:
    """The folder `deploy/` of the checkout that a package was installed from.

    Args:
        package: the folder of the package `taskforge_cli`.

    Raises:
        CheckoutMissing: it was not installed from a checkout.
    """
    deploy = package.parent.parent / "deploy"
    if not (deploy / "compose.yaml").is_file() or not (deploy / "compose-init").is_file():
        raise CheckoutMissing(
            "the Compose runtime builds its image from a checkout of the repository, and this is none",
            hint="clone the repository and install from it: deploy/install",
        )
    return deploy


def compose_line(compose: Sequence[str], deployment: Deployment, *arguments: str) -> list[str]:
    """A command line of Compose."""
    named = ["--project-name", deployment.project, "--env-file", str(deployment.env_file)]
    return [*compose, *named, "-f", str(deployment.deploy / "compose.yaml"), *arguments]


def display_name(service: str, number: str) -> str:
    """How a container is called in front of the user."""
    return f"{service}-{number}" if service == "executor" else service


def split_line(line: str) -> tuple[str, str] | None:
    """The container's name and the text of a line of `compose logs`; None for what Compose says itself."""
    head, bar, text = line.rstrip("\n").partition("|")
    found = _NUMBERED.fullmatch(head.strip())
    if not bar or found is None:
        return None
    return display_name(found["service"], found["number"]), text.removeprefix(" ")


def _container(found: Mapping[str, Any]) -> Container:
    labels, state = found["Config"]["Labels"], found["State"]
    service = labels[f"{_LABEL}.service"]
    bound = (each for port in (found["NetworkSettings"].get("Ports") or {}).values() for each in port or ())
    return Container(
        id=found["Id"],
        name=display_name(service, labels[f"{_LABEL}.container-number"]),
        service=service,
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=state["ExitCode"],
        out_of_memory=state["OOMKilled"],
        uptime_seconds=_since(state["StartedAt"]) if state["Status"] == "running" else 0.0,
        ports=frozenset(int(each["HostPort"]) for each in bound if each["HostPort"]),
        error=state["Error"],
    )


def _since(moment: str) -> float:
    """Seconds since a moment that Docker writes with nanoseconds."""
    started = datetime.fromisoformat(f"{moment[:19]}+00:00")
    return max(0.0, (datetime.now(UTC) - started).total_seconds())


def _ask(command: Sequence[str], environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DockerUnavailable(f"Docker does not answer: {error}", hint="start Docker") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"exit code {done.returncode}"
        raise DockerUnavailable(f"Docker does not answer: {reason}", hint="start Docker, or ask for access to it")
    return done.stdout
