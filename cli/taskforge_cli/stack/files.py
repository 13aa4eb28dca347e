"""Files and folders that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from taskforge_cli.stack.errors import HomeUnusable


def write_private(path: Path, content: str) -> None:
    """Write a file of mode 0600 aside and move it into place: no moment shows half of it, or shows it to others."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Create the folder with mode 0700, or make sure that an existing one is ours alone.

    Raises:
        HomeUnusable: somebody else made it, or it is a link: in /tmp that is an attack or an accident.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise HomeUnusable(
            f"{folder} is not a private folder of this user", hint="remove it, or set TASKFORGE_HOME to a shorter path"
        )
