"""Installs peers from their public registries, once, into a cache folder outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_INSTALLED = ".installed"  #: written last, so that half an installation is begun again
_LONGEST_SECONDS = 600.0
_TOLD_LINES = 5


class Missing(Exception):
    """Something that a peer needs is not on this machine."""


def from_npm(name: str, packages: Sequence[str]) -> Path:
    """The folder whose `node_modules` holds these packages; none of their scripts has run."""
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed; it comes with Node.js")
    folder = _folder(name)
    options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    return _installed(folder, packages, [[npm, "install", *options, *packages]])


def from_pypi(name: str, packages: Sequence[str]) -> Path:
    """The folder of an environment of its own that holds these packages."""
    folder = _folder(name)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return _installed(folder, packages, [[sys.executable, "-m", "venv", str(folder)], [*pip, *packages]])


def _folder(name: str) -> Path:
    chosen = os.environ.get("TASKFORGE_PEERS")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(chosen) if chosen else caches / "taskforge-peers").absolute() / name


def _installed(folder: Path, packages: Sequence[str], commands: Sequence[Sequence[str]]) -> Path:
    mark, wanted = folder / _INSTALLED, "\n".join(packages)
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"installing {' '.join(packages)}", flush=True)
    for command in commands:
        _run(command, folder)
    mark.write_text(wanted, encoding="utf-8")
    return folder


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Missing(f"its registry has not answered within {_LONGEST_SECONDS:.0f} s") from error
    if done.returncode != 0:
        told = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_TOLD_LINES:])
        raise Missing(f"it cannot be installed, which needs its registry:\n{told}")
