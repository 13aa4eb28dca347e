"""Checks of the machine: Python, the wheels, disk, clock, time zones, limits."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from taskforge_cli.stack import install
from taskforge_cli.stack.errors import RuntimeMissing
from taskforge_cli.stack.findings import Finding, fail, ok, warn
from taskforge_cli.stack.home import Home

_OLDEST_PYTHON = (3, 11)
_LOW_DISK_BYTES = 2 * 1024**3
_FULL_DISK_BYTES = 256 * 1024**2
_LOW_FILES = 4096
_CLOCK_SLACK_SECONDS = 120


def check_machine(home: Home, *, containers: bool = False) -> Iterator[Finding]:
    """All of them; containers bring their own programs."""
    yield _python()
    yield from () if containers else _programs()
    yield _disk(home)
    yield _clock(home)
    yield _time_zones()
    yield _open_files()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return fail("python", f"Python {version}", "install Python 3.11 or newer")
    return ok("python", f"Python {version}")


def _programs() -> Iterator[Finding]:
    try:
        found = install.locate()
    except RuntimeMissing as error:
        yield fail("programs", error.message, error.hint)
        return
    programs = {"postgres": found.postgres(), "valkey": found.valkey, "envoy": found.envoy}
    for name, path in programs.items():
        yield _runs(name, path)


def _runs(name: str, path: Path) -> Finding:
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail(name, f"{path} cannot be run: {error}", "pip install --force-reinstall 'taskforge[local]'")
    said = " ".join(done.stdout.split()).removeprefix(str(path)).strip()
    if done.returncode != 0:
        reason = done.stderr.strip() or f"exit {done.returncode}"
        return fail(name, f"{path} fails: {reason}", "pip install --force-reinstall 'taskforge[local]'")
    return ok(name, said[:100])


def _disk(home: Home) -> Finding:
    folder = home.root if home.root.exists() else next(path for path in home.root.parents if path.exists())
    free = shutil.disk_usage(folder).free
    message = f"{free / 1024**3:.1f} GiB free for {home.root}"
    if free < _FULL_DISK_BYTES:
        return fail("disk", message, "free some space: PostgreSQL stops when the disk is full")
    if free < _LOW_DISK_BYTES:
        return warn("disk", message, "free some space, or move the home: TASKFORGE_HOME")
    return ok("disk", message)


def _clock(home: Home) -> Finding:
    """A clock that has gone back makes schedules fire twice or late; nothing here may come from the future."""
    now = time.time()
    paths = [Path(__file__), home.config_file, home.log_dir, home.run_dir, home.postgres_dir / "PG_VERSION"]
    newest = max(path.stat().st_mtime for path in paths if path.exists())
    shown = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    if newest > now + _CLOCK_SLACK_SECONDS:
        return fail("clock", f"it says {shown}, but files here are newer than that", "set the clock; turn on NTP")
    return ok("clock", shown)


def _time_zones() -> Finding:
    try:
        zoneinfo.ZoneInfo("Europe/Paris").utcoffset(datetime(2026, 7, 1))
    except zoneinfo.ZoneInfoNotFoundError:
        return fail("time-zones", "there are no time zone data", "pip install tzdata")
    return ok("time-zones", f"{len(zoneinfo.available_timezones())} zones")


def _open_files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < _LOW_FILES:
        return warn("open-files", f"at most {hard} open files", "raise the limit: ulimit -Hn 65536")
    return ok("open-files", f"up to {'any number of' if hard == resource.RLIM_INFINITY else hard} open files")
