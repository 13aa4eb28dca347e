"""The whole product on this machine, with a home folder of its own; or one that runs elsewhere.

    python -m tests.support.stack HOME      ends the stack of HOME once standard input is closed

That second process is why no stack outlives the tests, even when they are killed: the supervisor of a stack is made to
outlive the terminal that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from taskforge_cli.stack.configfile import ConfigFile
from taskforge_cli.stack.home import Home
from taskforge_cli.stack.local import LocalStack, Options
from tests.support.commands import Command, Finished
from tests.support.places import clean_environment, free_port, short_folder

_SERVER, _TOKEN, _REDIS = "TASKFORGE_TEST_SERVER", "TASKFORGE_TEST_TOKEN", "TASKFORGE_TEST_REDIS"
_STOP_SECONDS = 60.0
_LOG_LINES = 30


class _Commands:
    """Runs the command line with a home folder."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.environment = {**clean_environment(), **environment, "TASKFORGE_HOME": str(home)}

    def cli(self, *arguments: str, expect: int = 0, stdin: str = "", **variables: str) -> Finished:
        """Run a command; `expect` is the exit code that it must end with."""
        with self.begin(*arguments, **variables) as command:
            return command.end(expect=expect, stdin=stdin)

    def begin(self, *arguments: str, **variables: str) -> Command:
        """Start a command that goes on while the test does something else."""
        return Command(arguments, {**self.environment, **variables})

    def apply(self, source: str) -> Finished:
        """Apply a workflow from a file."""
        path = self.home / "applied.yaml"
        path.write_text(source, encoding="utf-8")
        return self.cli("workflow", "apply", str(path))


class RemoteStack(_Commands):
    """A stack that somebody else runs."""

    is_local = False

    def __init__(self, home: Path, server: str, token: str) -> None:
        super().__init__(home, {"TASKFORGE_SERVER": server, "TASKFORGE_TOKEN": token})
        self.server = server.rstrip("/")
        self.token = token


class OwnStack(_Commands):
    """A stack of the tests' own: every process of it may be looked at, stopped and killed."""

    is_local = True

    def __init__(self, home: Path, **environment: str) -> None:
        super().__init__(home, environment)
        self.local = LocalStack(Home(home), self.environment)
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        """The public address."""
        return str(self._config("contexts.local.server"))

    @property
    def token(self) -> str:
        """The administrator's token."""
        return str(self._config("contexts.local.token"))

    def start(self) -> None:
        """Make the home folder and start everything."""
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stack", str(self.home)],
            stdin=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        self.local.init(Options(port=free_port()))
        self.local.up()

    def stop(self) -> None:
        """Stop everything; nothing of it is left when this returns."""
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            self._keeper.wait(_STOP_SECONDS)

    def pids(self) -> dict[str, int]:
        """The processes that run, by name: `gateway`, `executor-1`, `postgres` …"""
        return {process.name: process.pid for process in self.local.status().processes if process.pid}

    def is_healthy(self) -> bool:
        """Whether everything runs and says that it is well."""
        return self.local.status().healthy

    def kill(self, name: str) -> None:
        """End a process as a crash would."""
        os.kill(self.pids()[name], signal.SIGKILL)

    def log_ends(self) -> dict[str, str]:
        """What each process has written last, by name."""
        logs = sorted(Home(self.home).log_dir.glob("*.log"))
        return {log.stem: "".join(log.read_text(errors="replace").splitlines(True)[-_LOG_LINES:]) for log in logs}

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A connection to the stack's database as its owner, for looking behind the services' backs."""
        sockets = self._config("local.sockets") or self.home / "run"
        connection = await asyncpg.connect(user="taskforge", database="taskforge", host=f"{sockets}/pg", port=5432)
        try:
            yield connection
        finally:
            await connection.close()

    def _config(self, key: str) -> Any:
        return ConfigFile.read(Home(self.home).config_file).get(key)


Stack = OwnStack | RemoteStack


@contextmanager
def own_stack(**environment: str) -> Iterator[OwnStack]:
    """A stack for the time of a block."""
    with short_folder() as folder:
        stack = OwnStack(folder / "home", **environment)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@contextmanager
def chosen_stack(**environment: str) -> Iterator[Stack]:
    """The stack that the environment names, or one of our own. TASKFORGE_TEST_REDIS=off leaves Redis out of ours."""
    server = os.environ.get(_SERVER, "")
    if server:
        with short_folder() as folder:
            yield RemoteStack(folder, server, os.environ[_TOKEN])
    else:
        redis = {"TASKFORGE_REDIS": "off"} if os.environ.get(_REDIS) == "off" else {}
        with own_stack(**redis, **environment) as stack:
            yield stack


def _keep(home: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.buffer.read()
    if Home(home).config_file.exists():
        LocalStack(Home(home)).down()


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
