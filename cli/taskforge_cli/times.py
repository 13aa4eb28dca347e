"""Durations and points in time, written and read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from taskforge_cli.errors import CliError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def elapsed(seconds: float) -> str:
    """A duration for people: `212ms`, `3.2s`, `2m05s`, `3h12m`, `4d2h`."""
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{round(seconds * 1000)}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def ago(moment: datetime, now: datetime) -> str:
    """A moment relative to now, with its largest unit: `3m ago`, `in 2h`."""
    seconds = (now - moment).total_seconds()
    text = _largest_unit(abs(seconds))
    if text == "0s":
        return "now"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def local(moment: datetime) -> str:
    """A moment on the user's clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(moment: datetime) -> str:
    """A moment in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration(text: str, what: str) -> float:
    """Seconds of `500ms`, `30s`, `1h30m`; a bare number is seconds.

    Raises:
        CliError: DURATION_SYNTAX.
    """
    compact = text.strip().lower()
    if re.fullmatch(r"\d+(?:\.\d+)?", compact):
        return float(compact)
    parts = _DURATION.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise CliError("DURATION_SYNTAX", f"{what} is {text!r}", hints=["write it as 500ms, 30s, 5m, 2h or 1d"])
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_moment(text: str, what: str, now: datetime) -> datetime:
    """A point in time: RFC 3339, or a duration before now.

    Raises:
        CliError: DURATION_SYNTAX.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return now - timedelta(seconds=parse_duration(text, what))
    return found if found.tzinfo else found.astimezone()


def _largest_unit(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
