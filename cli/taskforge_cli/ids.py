"""Run ids: what the user may write, and how short they may be shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHORT_CHARS = 13


def shorten(ids: Iterable[str]) -> dict[str, str]:
    """For each id its first 13 characters, or as many more as tell it from the others."""
    known = sorted(set(ids))
    return {name: name[: _length(known, at)] for at, name in enumerate(known)}


def short(name: str) -> str:
    """One id alone, short."""
    return name[:SHORT_CHARS]


def _length(known: Sequence[str], at: int) -> int:
    neighbours = [*known[max(at - 1, 0) : at], *known[at + 1 : at + 2]]
    shared = max((_shared(known[at], other) for other in neighbours), default=0)
    wanted = max(SHORT_CHARS, shared + 1)
    # A prefix that ends in a dash looks cut off by mistake.
    return wanted + 1 if known[at][:wanted].endswith("-") else wanted


def _shared(left: str, right: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
