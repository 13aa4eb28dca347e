"""The version of the product before the newest migration, from the repository's history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from taskforge.store.migrate import migrations
from tests.support.places import ROOT

_PACKAGE = "services"
_MIGRATIONS = f"{_PACKAGE}/taskforge/store/migrations"


class NoHistory(Exception):
    """The previous version is not at hand; says why."""


def previous_version(folder: Path) -> Path:
    """Unpack it below `folder`; returns what its programs import from.

    Raises:
        NoHistory: this is no clone with all of its history.
    """
    newest = migrations()[-1]
    file = f"{_MIGRATIONS}/{newest.number:04}_{newest.name}.sql"
    added = _git("log", "--diff-filter=A", "--format=%H", "--", file).decode().split()
    archive = _git("archive", f"{added[-1]}^" if added else "HEAD", _PACKAGE)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    if (folder / file).exists():
        raise NoHistory(f"the history has no version without {newest.name}")
    return folder / _PACKAGE


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistory(f"the previous version is not in the history: {error}") from error
