"""What the running stack was started with: options, variables and the version are not in the config file."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.files import write_private
from taskforge_cli.stack.home import Home

#: What a running process keeps until it is restarted, and how the user is told that it has changed since.
_KEPT = {
    "version": "the processes still run the version they were started with",
    "settings": "settings of the services or of PostgreSQL have changed since the start",
}


def read(home: Home) -> dict[str, Any]:
    """The record of the last start; empty if there is none."""
    try:
        found = json.loads(home.started_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record(home: Home, configuration: Configuration, *, keep: bool) -> list[str]:
    """Write the record.

    Args:
        home: whose stack it is.
        configuration: what it was started with.
        keep: the processes were running already, so they still have the version and settings of the last record.

    Returns:
        Notes for the user about what only a restart puts into effect.
    """
    now = {
        "redis": configuration.value("local.redis"),
        "executors": configuration.value("local.executors"),
        "version": _version(),
        "settings": _digest(configuration),
    }
    before = read(home) if keep else {}
    notes = [f"{text}: taskforge restart" for key, text in _KEPT.items() if before.get(key, now[key]) != now[key]]
    now |= {key: before[key] for key in _KEPT if key in before}
    write_private(home.started_file, json.dumps(now) + "\n")
    return notes


def _digest(configuration: Configuration) -> str:
    settings = [sorted(configuration.service_environment.items()), sorted(configuration.postgres.items())]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _version() -> str:
    try:
        return version("taskforge")
    except PackageNotFoundError:
        return ""
