"""Short temporary folders and free ports."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The repository's root.
ROOT = Path(__file__).resolve().parents[2]

# A Unix socket's path holds 107 bytes; a runner's TMPDIR may eat most of them.
_LONGEST_BASE = 40


@contextmanager
def short_folder() -> Iterator[Path]:
    """A private folder whose path leaves room for socket names; removed at the end."""
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="tf-", dir=base if len(base) <= _LONGEST_BASE else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port on the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure a TaskForge."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TASKFORGE_")}


def installed_package(name: str) -> Path:
    """The folder of a package that carries programs. It is not imported: some do things when they are."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} is not installed; tests/run installs it")
    return Path(spec.origin).parent
