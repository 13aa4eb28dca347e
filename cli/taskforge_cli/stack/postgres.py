"""PostgreSQL for one machine: made once, small, durable, on a Unix socket in a closed folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from taskforge_cli.stack import unprivileged
from taskforge_cli.stack.errors import HomeUnusable, RootUnsupported, StackError, StartFailed
from taskforge_cli.stack.install import Programs
from taskforge_cli.stack.processes import cluster_name
from taskforge_cli.stack.unprivileged import Identity

DATABASE = "taskforge"
OWNER = "taskforge"
_PORT = 5432  # names the socket; nothing listens on TCP
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_MISSING_DATABASE = b"C3D000\0"

#: Written out although they are PostgreSQL's defaults: doctor holds a running server to them.
DURABILITY = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
#: What a laptop can spare.
_SETTINGS = {
    **DURABILITY,
    "listen_addresses": "",
    "port": str(_PORT),
    "max_connections": "60",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    # Backends read for themselves: three I/O workers would only idle here.
    "io_method": "sync",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "2",
    "min_wal_size": "64MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    # After a crash one call syncs the file system; the default opens each of a thousand files, which takes a second.
    "recovery_init_sync_method": "syncfs",
    "autovacuum_max_workers": "2",
    "bgwriter_delay": "1s",
    "jit": "off",
    "idle_in_transaction_session_timeout": "5min",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %u ",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_duration_statement": "2s",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One database server: where its files and its socket are."""

    data: Path
    sockets: Path
    programs: Programs
    stack_id: str

    @property
    def socket_path(self) -> Path:
        """The socket it listens on."""
        return self.sockets / _SOCKET_NAME

    @property
    def exists(self) -> bool:
        """Whether it was made completely."""
        return (self.data / "PG_VERSION").exists() and (self.data / "global" / "pg_control").exists()

    def url(self, role: str = OWNER) -> str:
        """The DSN of a role."""
        return f"postgresql://{role}@/{DATABASE}?host={quote(str(self.sockets))}&port={_PORT}"


def prepare(cluster: Cluster, settings: Mapping[str, str]) -> bool:
    """Make the cluster if there is none, write its configuration. Returns whether it was made now.

    Raises:
        HomeUnusable: the data belongs to somebody else.
        RootUnsupported: this is root and there is no way to run PostgreSQL.
        StartFailed: initdb failed.
    """
    if cluster.data.exists() and not os.access(cluster.data, os.R_OK | os.X_OK):
        raise HomeUnusable(
            f"{cluster.data} belongs to user {cluster.data.stat().st_uid} and cannot be read here",
            hint="start it where it was made, or give the folder to this user with chown -R",
        )
    identity = _identity(cluster)
    cluster.sockets.mkdir(mode=0o700, exist_ok=True)
    made = not cluster.exists
    if made:
        _initialise(cluster, identity)
    _write_configuration(cluster, settings)
    if os.geteuid() == 0:
        _give(cluster.data, identity.owner)
        _give(cluster.sockets, identity.owner)
    return made


def server_command(cluster: Cluster) -> tuple[str, ...]:
    """The command that the supervisor runs."""
    return (
        sys.executable,
        "-m",
        "taskforge_cli.stack.postgres_main",
        cluster.stack_id,
        str(cluster.sockets),
        str(cluster.programs.postgres()),
        "-D",
        str(cluster.data),
        "-c",
        f"config_file={cluster.data / 'taskforge.conf'}",
        "-c",
        f"cluster_name={cluster_name(cluster.stack_id)}",
    )


def answers(cluster: Cluster) -> bool:
    """Whether it accepts connections to our database; makes the database if only that is missing."""
    reply = _greeting(cluster.socket_path)
    if _MISSING_DATABASE in reply:
        query(cluster, f"CREATE DATABASE {DATABASE}", database="postgres")
        return True
    return reply.startswith(b"R")


def query(cluster: Cluster, statement: str, *, database: str = DATABASE) -> str:
    """Run a statement as the owner and return its output, one row a line, columns separated by `|`.

    Raises:
        StackError: the server does not answer or refuses the statement.
    """
    psql = str(cluster.programs.postgres("psql"))
    target = ["-h", str(cluster.sockets), "-p", str(_PORT), "-U", OWNER, "-d", database]
    options = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement]
    try:
        done = subprocess.run([psql, *target, *options], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"PostgreSQL does not answer: {error}") from error
    if done.returncode != 0:
        raise StackError(f"PostgreSQL does not answer: {done.stderr.strip()}")
    return done.stdout.strip()


def _greeting(path: Path) -> bytes:
    """The first bytes of the server's answer to a login."""
    fields = b"user\0" + OWNER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
    startup = (8 + len(fields)).to_bytes(4, "big") + (196608).to_bytes(4, "big") + fields  # protocol 3.0
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2.0)
            connection.connect(str(path))
            connection.sendall(startup)
            reply = connection.recv(4096)
            connection.sendall(b"X\0\0\0\4")
            return reply
    except OSError:
        return b""


def _identity(cluster: Cluster) -> Identity:
    choices = unprivileged.candidates()
    if cluster.data.exists():
        # What has worked goes on: changing the owner of a large database takes time.
        kept = unprivileged.of_owner(cluster.data.stat().st_uid)
        choices = [kept, *(choice for choice in choices if choice != kept)]
    reasons = []
    for choice in choices:
        fault = _probe(choice, cluster.programs.postgres())
        if fault is None:
            return choice
        reasons.append(fault)
    raise RootUnsupported(
        "PostgreSQL does not run as root, and here root may neither become another user nor make a user namespace: "
        + "; ".join(reasons),
        hint="run taskforge as an ordinary user, or use the other runtime: taskforge init --runtime compose",
    )


def _probe(identity: Identity, program: Path) -> str | None:
    """Why this way is closed, or None."""
    if identity.kind == "self":
        return None
    command = _as(identity, "probe", str(program))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().rpartition("\n")[2] or f"exit {done.returncode}")


def _as(identity: Identity, *command: str) -> list[str]:
    return [sys.executable, "-m", "taskforge_cli.stack.unprivileged", str(identity), *command]


def _initialise(cluster: Cluster, identity: Identity) -> None:
    # initdb wants an empty folder and a user with a name; the folder changes hands when it is done.
    maker = unprivileged.named(identity)
    part = cluster.data.with_name("postgres.new")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    if os.geteuid() == 0:
        _give(part, maker.owner)
    options = ["-D", str(part), "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-instructions"]
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [str(cluster.programs.postgres("initdb")), *options, *locale]
    if maker.kind != "self":
        command = _as(maker, *command)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode != 0:
        raise StartFailed(f"PostgreSQL's initdb failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    part.rename(cluster.data)


def _write_configuration(cluster: Cluster, settings: Mapping[str, str]) -> None:
    merged = {**_SETTINGS, **settings, "unix_socket_directories": f'"{cluster.sockets}"'}
    lines = [f"{name} = {_quoted(value)}" for name, value in merged.items()]
    _replace(
        cluster.data / "taskforge.conf", "# Written at each start. Your own settings go into [local.postgres].\n", lines
    )
    _replace(cluster.data / "pg_hba.conf", "# The socket's folder is closed to other users.\n", ["local all all trust"])


def _replace(path: Path, heading: str, lines: list[str]) -> None:
    content = heading + "\n".join(lines) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _give(folder: Path, owner: int) -> None:
    """Make the folder and all below it belong to `owner`; quick when it already does."""
    if folder.stat().st_uid != owner:
        # From the leaves up: an interrupted change leaves the folder itself with its old owner, and is taken up again.
        for parent, _, files in os.walk(folder, topdown=False):
            for name in (*files, ""):
                os.chown(os.path.join(parent, name), owner, owner, follow_symlinks=False)  # noqa: PTH118
