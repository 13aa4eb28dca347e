"""Durations and sizes as they are written in a workflow: `500ms 30s 5m 2h 1d`, ISO 8601, `512KiB 1MB`."""

from __future__ import annotations

import re

MAX_DURATION = 365 * 86_400.0

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIMPLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_ISO = re.compile(
    r"P(?=\d|T\d)(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_ISO_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgKMG]?i?[bB]?)", re.ASCII)
_MAX_CHARS = 40

#: For the published JSON Schema.
DURATION_PATTERN = r"^((\d+(\.\d+)?(ms|s|m|h|d))+|P[0-9WDTHMS.]+)$"
SIZE_PATTERN = r"^\d+(\.\d+)? ?([kmgKMG]i?)?[bB]?$"


def parse_duration(text: str) -> float:
    """Seconds of a duration. Raises ValueError with a message for the author of the file."""
    seconds = _simple_seconds(text) if len(text) <= _MAX_CHARS else None
    if seconds is None:
        example = f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else "30s"
        raise ValueError(f"'{text[:_MAX_CHARS]}' is not a duration: write it like {example}, 5m, 2h, 1d or 500ms")
    if not 0 < seconds <= MAX_DURATION:
        raise ValueError(f"'{text}' is not between 1ms and 365d")
    return seconds


def _simple_seconds(text: str) -> float | None:
    if _SIMPLE.fullmatch(text):
        parts = _PART.findall(text)
        units = [unit for _, unit in parts]
        ordered = sorted(set(units), key=lambda unit: -_SECONDS[unit])
        return sum(float(number) * _SECONDS[unit] for number, unit in parts) if units == ordered else None
    iso = _ISO.fullmatch(text)
    if iso is None:
        return None
    return sum(float(number) * _ISO_SECONDS[unit] for unit, number in iso.groupdict().items() if number)


def format_duration(seconds: float) -> str:
    """Write seconds in the largest unit that needs no fraction."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def parse_size(text: str) -> int:
    """Bytes of a size. Raises ValueError with a message for the author of the file."""
    found = _SIZE.fullmatch(text) if len(text) <= _MAX_CHARS else None
    unit = found.group(2).upper() if found else None
    if unit is not None and unit.rstrip("B") and not unit.endswith("B"):
        unit += "B"
    if found is None or unit not in _BYTES:
        raise ValueError(f"'{text[:_MAX_CHARS]}' is not a size: write it like 65536, 512KiB or 1MB")
    return int(float(found.group(1)) * _BYTES[unit])
