"""One PostgreSQL server on a TCP port of the loopback interface, with any settings, that may be killed and frozen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from tests.support.places import clean_environment, free_port
from tests.support.postgres import hand_over, server_programs
from tests.support.processes import Process, unprivileged_account
from tests.support.waiting import eventually_now

LOOPBACK = "127.0.0.1"
#: As in production: what is committed is on the disk. The rest keeps a server small.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "max_connections": "60",
    "shared_buffers": "32MB",
    "jit": "off",
    "io_method": "sync",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_keep_size": "64MB",
    # So that a standby asks again soon once its link is back, and gives up a dead primary.
    "wal_retrieve_retry_interval": "200ms",
    "wal_receiver_timeout": "5s",
}
_COMMAND_SECONDS = 60.0
_MAY_BE_GONE = suppress(psutil.NoSuchProcess)


class Node:
    """A server with its own folder and port. It is made by `initialise` or as a copy of another by `copy`."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.port = free_port()
        self.settings = {**_SETTINGS, "cluster_name": name, **(settings or {})}
        self.environment: dict[str, str] = {}  #: more variables, from the next start on
        self._account = unprivileged_account()
        self.folder = folder / name
        self.folder.mkdir(mode=0o700, exist_ok=True)
        hand_over(folder, self.folder, self._account)
        self.data = self.folder / "data"
        self._programs = server_programs(folder, self._account)
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def process(self) -> Process:
        """The postmaster."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether its postmaster lives."""
        return self._process is not None and self._process.exit_code is None

    @property
    def log(self) -> str:
        """What the server has written."""
        return self.process.output()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """A DSN of this server alone."""
        return f"postgresql://{user}@{self.address}/{database}"

    @asynccontextmanager
    async def connect(self, database: str = "postgres") -> AsyncIterator[Any]:
        """An owner's connection to this server, whatever it is: primary or standby."""
        connection = await asyncpg.connect(self.url(database), timeout=5, command_timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()

    def sql(self, statement: str, *, database: str = "postgres") -> list[str]:
        """Run one statement as the owner and return its rows, columns separated by `|`. Blocks."""
        target = ["-h", LOOPBACK, "-p", str(self.port), "-U", "postgres", "-d", database]
        output = self.run("psql", *target, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)
        return output.splitlines()

    def initialise(self) -> None:
        """Make an empty cluster."""
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        self.run("initdb", "-D", str(self.data), *options, "--no-instructions")

    def copy(self, primary: Node, *, through: str | None = None) -> None:
        """Become a standby of `primary`, which replicates from its own address or `through` another."""
        source = f"host={LOOPBACK} user=postgres application_name={self.name}"
        options = ["-X", "stream", "--checkpoint=fast", "--no-sync"]
        self.run("pg_basebackup", "-D", str(self.data), "-d", f"{source} port={primary.port}", *options)
        self.follow(primary, through=through)

    def follow(self, primary: Node, *, through: str | None = None) -> None:
        """Be a standby of `primary` from the next start on."""
        host, _, port = (through or primary.address).rpartition(":")
        self.settings["primary_conninfo"] = f"host={host} port={port} user=postgres application_name={self.name}"
        self._write("postgresql.auto.conf", "")  # what was set on a primary is not a standby's
        self.be_read_only()

    def be_read_only(self) -> None:
        """Start as a standby from now on, also if there is nobody to follow."""
        self._write("standby.signal", "")

    def rewind(self, primary: Node) -> None:
        """Throw away what `primary` does not know, after a failover. This server must not run."""
        source = f"host={LOOPBACK} port={primary.port} user=postgres dbname=postgres"
        self.run("pg_rewind", "-D", str(self.data), "--source-server", source, "--no-sync")

    def spawn(self) -> Process:
        """Start without waiting until it accepts connections."""
        # In the file rather than on the command line: pg_rewind starts the server too, and WAL must be kept then.
        values = {**self.settings, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        self._write("postgresql.conf", "".join(f"{name} = '{value}'\n" for name, value in values.items()))
        log = self.folder / "server.log"
        log.unlink(missing_ok=True)
        self._process = Process(
            [str(self._programs / "postgres"), "-D", str(self.data)],
            log=log,
            env=clean_environment() | {"TZ": "UTC"} | self.environment,
            account=self._account,
        )
        return self._process

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        self.spawn()
        self.process.ready_when(lambda: "ready to accept" in self.process.output(), within=_COMMAND_SECONDS)

    def promote(self) -> None:
        """Make a standby the primary, and wait until it takes writes."""
        self.run("pg_ctl", "promote", "-D", str(self.data), "--wait")

    def stop(self) -> None:
        """An orderly shutdown that does not wait for clients."""
        self.run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast")
        self.process.wait()

    def kill(self) -> None:
        """End every process of the server at once, as a loss of power would."""
        family = self.family()
        for process in family:
            with _MAY_BE_GONE:
                process.kill()
        if self._process is not None:
            self._process.kill()
        # Until its children have ended, the data folder is still theirs.
        eventually_now(lambda: _assert_ended(family), within=_COMMAND_SECONDS)

    def freeze(self) -> None:
        """Stop every process of the server: its sockets stay open and nobody answers."""
        for process in self.family():
            with _MAY_BE_GONE:
                process.suspend()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        for process in self.family():
            with _MAY_BE_GONE:
                process.resume()

    def family(self) -> list[psutil.Process]:
        """The postmaster, which comes first so that it starts nobody meanwhile, and its children."""
        if not self.is_running:
            return []
        postmaster = psutil.Process(self.process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text, encoding="utf-8")
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's account and return its output."""
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
            cwd=self.folder,
            env=clean_environment(),
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout


def _assert_ended(family: list[psutil.Process]) -> None:
    for process in family:
        with _MAY_BE_GONE:
            # Whoever adopts orphans may be slow to bury them.
            assert process.status() == psutil.STATUS_ZOMBIE


@contextmanager
def running_node(folder: Path, name: str = "node", **settings: str) -> Iterator[Node]:
    """A fresh server with given settings, such as `fsync="off"`, for the time of a block."""
    node = Node(folder, name, settings)
    try:
        node.initialise()
        node.start()
        yield node
    finally:
        node.kill()
