"""The home folder: everything of one user, in one place, closed to everybody else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taskforge_cli.stack.errors import HomeUnusable

#: A Unix socket's path holds at most 107 bytes; this much is left for the longest name below `run/`.
_SOCKET_NAME_BYTES = 28
_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below the home folder. Nothing is created before `create()`."""

    root: Path

    @classmethod
    def locate(cls, environ: Mapping[str, str] | None = None) -> Home:
        """`$TASKFORGE_HOME`, else `~/.taskforge`.

        Raises:
            HomeUnusable: the path cannot be written into the configuration of the parts.
        """
        environ = os.environ if environ is None else environ
        chosen = environ.get("TASKFORGE_HOME", "").strip()
        root = Path(chosen).expanduser() if chosen else Path.home() / ".taskforge"
        root = Path(os.path.abspath(root))  # noqa: PTH100  links stay: the user's path is the one that is shown
        # supervisord, PostgreSQL's list of folders and database URLs read these as their own, whatever the quoting.
        if any(bad in str(root) for bad in (" ;", " #", "\n", "\r", '"', "'", ",", "%")):
            raise HomeUnusable(
                f"the path {str(root)!r} holds characters that the parts' configuration files cannot hold",
                hint="set TASKFORGE_HOME to a plainer path",
            )
        return cls(root)

    @property
    def config_file(self) -> Path:
        """The config file (TOML, 0600)."""
        return self.root / "config"

    @property
    def secrets_dir(self) -> Path:
        """Keys and internal tokens (0700)."""
        return self.root / "secrets"

    @property
    def internal_token_file(self) -> Path:
        """The token for calls between services."""
        return self.secrets_dir / "internal-token"

    @property
    def keyring_file(self) -> Path:
        """The keys that seal users' secrets."""
        return self.secrets_dir / "keyring.json"

    @property
    def data_dir(self) -> Path:
        """What must survive: PostgreSQL. And Valkey's working folder."""
        return self.root / "data"

    @property
    def postgres_dir(self) -> Path:
        """PostgreSQL's data."""
        return self.data_dir / "postgres"

    @property
    def valkey_dir(self) -> Path:
        """Valkey's working folder; it keeps nothing."""
        return self.data_dir / "valkey"

    @property
    def run_dir(self) -> Path:
        """Generated configuration, the lock, and the sockets if their paths are short enough."""
        return self.root / "run"

    @property
    def log_dir(self) -> Path:
        """One log a process."""
        return self.root / "log"

    @property
    def started_file(self) -> Path:
        """What the stack was last started with."""
        return self.run_dir / "started.json"

    @property
    def lock_file(self) -> Path:
        """Held while the stack is being changed."""
        return self.root / "lock"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders, parents first."""
        return (
            self.root,
            self.secrets_dir,
            self.data_dir,
            self.valkey_dir,
            self.run_dir,
            self.log_dir,
        )

    def create(self) -> list[Path]:
        """Make the folders that are missing (0700); leave the others as they are. Returns what was made.

        Raises:
            HomeUnusable: the folder belongs to another user or cannot be written.
        """
        made = []
        try:
            for folder in self.folders:
                if not folder.exists():
                    folder.mkdir(mode=0o700, parents=True)
                    made.append(folder)
        except OSError as error:
            message = f"cannot create {error.filename}: {error.strerror}"
            raise HomeUnusable(message, hint="set TASKFORGE_HOME to a folder of yours") from error
        self.check_owner()
        return made

    def check_owner(self) -> None:
        """Refuse a home folder of another user: half of it would end up unreadable to its owner."""
        owner = self.root.stat().st_uid
        if owner != os.geteuid():
            raise HomeUnusable(
                f"{self.root} belongs to user {owner}, and this is user {os.geteuid()}",
                hint="run the command as its owner, or set TASKFORGE_HOME",
            )


def socket_dir(home: Home, environ: Mapping[str, str]) -> Path:
    """Where the sockets go: `run/`, or a short private folder if the home's path is too long for a socket."""
    if len(os.fsencode(home.run_dir)) + _SOCKET_NAME_BYTES <= _SOCKET_PATH_BYTES:
        return home.run_dir
    base = Path(environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108  made private, and checked, below
    if len(os.fsencode(base)) > 40 or not base.is_dir():
        base = Path("/tmp")  # noqa: S108
    name = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:16]
    return base / f"taskforge-{os.geteuid()}-{name}"
