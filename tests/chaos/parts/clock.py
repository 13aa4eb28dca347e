"""Processes whose clock is wrong, by libfaketime: from a package, the system, or where a variable says."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

_VARIABLE = "TASKFORGE_TEST_FAKETIME"  #: the path of libfaketime.so.1


@cache
def _library() -> Path | None:
    return next((path for path in _candidates() if path.is_file()), None)


def _candidates() -> Iterator[Path]:
    if os.environ.get(_VARIABLE):
        yield Path(os.environ[_VARIABLE])
    package = importlib.util.find_spec("libfaketime")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    yield from Path("/usr/lib").glob("*/faketime/libfaketime.so.1")


def why_no_clock() -> str:
    """Why no clock can be made wrong here; empty if it can."""
    return "" if _library() else f"there is no libfaketime; {_VARIABLE} may say where it is"


def wrong_clock(seconds: float) -> Mapping[str, str]:
    """Variables with which a process starts `seconds` ahead, or behind if negative, and stays so.

    All clocks are moved alike, so that a process which measures intervals does not notice: moving the wall clock alone
    makes some sleeps fail in the library.
    """
    library = _library()
    if library is None:
        raise RuntimeError(why_no_clock())
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+.3f}"}
