"""Columns that several tables share."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from taskforge_cli.messages import last_part, state_of
from taskforge_cli.table import Cell, Column
from taskforge_cli.times import ago, elapsed, local, rfc3339
from taskforge_cli.tree import glyph_of, style_of


def when(name: str, field: str, *, wide: bool = False, absolute: bool = False) -> Column:
    """A timestamp: relative for people, or on their clock; RFC 3339 for programs."""

    def cell(item: Any) -> Cell:
        if not item.HasField(field):
            return Cell("", exact="")
        moment = getattr(item, field).ToDatetime().replace(tzinfo=UTC)
        text = local(moment) if absolute else ago(moment, datetime.now(UTC))
        return Cell(text, exact=rfc3339(moment))

    return Column(name, cell, wide=wide)


def lasted(name: str, start: str, end: str) -> Column:
    """How long something took, or takes."""

    def cell(item: Any) -> Cell:
        if not item.HasField(start):
            return Cell("", exact="")
        began = getattr(item, start).ToNanoseconds() / 1e9
        ended = getattr(item, end).ToNanoseconds() / 1e9 if item.HasField(end) else time.time()
        return Cell(elapsed(ended - began), exact=f"{ended - began:.3f}")

    return Column(name, cell, right=True)


def state(name: str = "STATE", field: str = "state") -> Column:
    """A state in its colour, with its sign."""

    def cell(item: Any) -> Cell:
        found = state_of(item, field)
        sign = glyph_of(found)
        return Cell(f"{sign} {found}" if sign != "?" else found, style_of(found), exact=found)

    return Column(name, cell)


def resource(name: str, field: str, *, style: str = "plain", wide: bool = False) -> Column:
    """The id at the end of a resource name."""
    return Column(name, lambda item: Cell(last_part(getattr(item, field)), style), wide=wide)


def text(name: str, value: Callable[[Any], object], *, wide: bool = False, stretch: bool = False) -> Column:
    """Any text."""
    return Column(name, lambda item: Cell(str(value(item))), wide=wide, stretch=stretch)


def local_time(item: Any, field: str) -> str:
    """A timestamp field on the user's clock; empty if it is not set."""
    return local(getattr(item, field).ToDatetime().replace(tzinfo=UTC)) if item.HasField(field) else ""
