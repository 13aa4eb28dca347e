"""Docker as the Compose runtime uses it: its programs, its command lines, and what it says about containers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from taskforge_cli.stack.config import CLI_VARIABLES
from taskforge_cli.stack.errors import CheckoutMissing, DockerUnavailable, StackError

PROJECT = "taskforge"
_ANSWER_SECONDS = 20.0
_ROW = ("service", "container-number")
_FORMAT = "\t".join(
    [*(f'{{{{.Label "com.docker.compose.{name}"}}}}' for name in _ROW), "{{.State}}", "{{.Status}}", "{{.Ports}}"]
)
_NUMBERED = re.compile(r"(?P<service>.+)[-_](?P<number>\d+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container of the project."""

    name: str  #: the service; executors are numbered, as in the local stack
    service: str
    state: str  #: Docker's word: created running restarting exited paused dead
    status: str  #: Docker's sentence, such as `Up 5 minutes (healthy)`
    ports: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Docker's programs, found and answering."""

    program: str
    compose: tuple[str, ...]  #: `docker compose` or `docker-compose`
    environ: Mapping[str, str] = field(repr=False)

    def run(self, deploy: Path, env_file: Path, *arguments: str) -> None:
        """Run Compose; what it writes goes to standard error.

        Raises:
            StackError: it failed.
        """
        command = compose_line(self.compose, deploy, env_file, *arguments)
        done = subprocess.run(command, env=self.environ, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            shown = " ".join([Path(self.compose[0]).name, *self.compose[1:], arguments[0]])
            raise StackError(f"{shown} ended with exit code {done.returncode}", hint="what it wrote says why")

    def lines(self, deploy: Path, env_file: Path, *arguments: str) -> Iterator[str]:
        """What Compose writes, as it comes; it ends with the caller."""
        command = compose_line(self.compose, deploy, env_file, *arguments)
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

    def containers(self) -> list[Container]:
        """The project's containers. Asked of Docker itself: both generations of Compose print other tables."""
        label = f"label=com.docker.compose.project={PROJECT}"
        text = _ask([self.program, "ps", "--all", "--filter", label, "--format", _FORMAT], self.environ)
        return sorted(map(_container, text.splitlines()), key=lambda found: found.name)


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


def compose_line(compose: Sequence[str], deploy: Path, env_file: Path, *arguments: str) -> list[str]:
    """A command line of Compose."""
    where = ["--project-name", PROJECT, "--env-file", str(env_file), "-f", str(deploy / "compose.yaml")]
    return [*compose, *where, *arguments]


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


def _container(line: str) -> Container:
    service, number, state, status, ports = line.split("\t")
    return Container(
        name=display_name(service, number), service=service, state=state.lower(), status=status, ports=ports
    )


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
