"""The previous version of the product, from the repository's history."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from tests.support.places import ROOT

#: The last commit before migration 5 whose services run by themselves. A new migration needs a newer one.
_COMMIT = "b4adff2dde2b7c7c1b23fb29a8937eb1ccbaf681"
_PACKAGE = "services"


class NoHistory(Exception):
    """The previous version is not at hand; says why."""


def previous_version(folder: Path) -> Path:
    """Unpack it below `folder`; returns what its programs import from.

    Raises:
        NoHistory: this is no clone with all of its history.
    """
    try:
        archived = subprocess.run(
            ["git", "archive", _COMMIT, _PACKAGE], cwd=ROOT, check=True, capture_output=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistory(f"the previous version, {_COMMIT[:7]}, is not in the history") from error
    with tarfile.open(fileobj=io.BytesIO(archived)) as files:
        files.extractall(folder)  # noqa: S202 -- our own history
    return folder / _PACKAGE
