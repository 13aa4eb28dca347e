"""The shape of what a check finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # it works, but not as well or as safely as it should
    FAIL = "fail"  # it does not work, or data are at risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    name: str
    verdict: Verdict
    message: str
    fix: str = ""  #: what the user does about it
    repair: Callable[[], None] | None = None  #: what `doctor --fix` does about it


def ok(name: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(name=name, verdict=Verdict.OK, message=message)


def warn(name: str, message: str, fix: str, repair: Callable[[], None] | None = None) -> Finding:
    """Better mended."""
    return Finding(name=name, verdict=Verdict.WARN, message=message, fix=fix, repair=repair)


def fail(name: str, message: str, fix: str, repair: Callable[[], None] | None = None) -> Finding:
    """Must be mended."""
    return Finding(name=name, verdict=Verdict.FAIL, message=message, fix=fix, repair=repair)
