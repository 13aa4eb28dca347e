"""Tables: aligned and calm on a terminal, tab-separated and complete in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taskforge_cli.paint import Paint

_GAP = "  "
_LEAST_WIDTH = 8
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: what people see, in which style, and what a program gets when that differs."""

    text: str
    style: str = "plain"
    exact: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `wide` ones appear with `-o wide` only; `stretch` ones give way when the terminal is narrow."""

    name: str
    cell: Callable[[Any], Cell]
    wide: bool = False
    stretch: bool = False
    right: bool = False


def width_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def fit(text: str, width: int) -> str:
    """The text in at most `width` columns, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept).rstrip() + _ELLIPSIS if width > 0 else ""


def one_line(text: str) -> str:
    """The text without line breaks and control characters: it may come from anywhere, and must not move the cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def tabbed(columns: Sequence[Column], items: Sequence[Any]) -> str:
    """Rows for programs: every column that a wide table has, exact values, no header."""
    rows = []
    for item in items:
        cells = (column.cell(item) for column in columns)
        rows.append("\t".join(one_line(cell.text if cell.exact is None else cell.exact) for cell in cells))
    return "".join(f"{row}\n" for row in rows)


def filled(columns: Sequence[Column], items: Sequence[Any]) -> list[Column]:
    """The columns that have something to say."""
    return [column for column in columns if any(column.cell(item).text for item in items)]


def aligned(columns: Sequence[Column], items: Sequence[Any], paint: Paint, terminal: int | None) -> str:
    """A table for people. `terminal` is its width, or None when nothing needs to fit."""
    rows = [[column.cell(item) for column in columns] for item in items]
    texts = [[one_line(cell.text) for cell in row] for row in rows]
    widths = [
        max(width_of(column.name), *(width_of(row[at]) for row in texts)) if texts else width_of(column.name)
        for at, column in enumerate(columns)
    ]
    if terminal is not None:
        _shrink(columns, widths, terminal)
    header = [paint(_padded(column.name, widths[at], column), "faint") for at, column in enumerate(columns)]
    lines = [_GAP.join(header).rstrip()]
    for row, words in zip(rows, texts, strict=True):
        cells = [
            _painted(word, widths[at], columns[at], row[at].style, paint, last=at == len(columns) - 1)
            for at, word in enumerate(words)
        ]
        lines.append(_GAP.join(cells).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _painted(word: str, width: int, column: Column, style: str, paint: Paint, *, last: bool) -> str:
    text = fit(word, width)
    blank = " " * (width - width_of(text))
    painted = paint(text, style)
    if column.right:
        return blank + painted
    return painted if last else painted + blank


def _padded(name: str, width: int, column: Column) -> str:
    return name.rjust(width) if column.right else name.ljust(width)


def _shrink(columns: Sequence[Column], widths: list[int], terminal: int) -> None:
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - terminal
    for at in sorted(range(len(columns)), key=lambda at: -widths[at]):
        if excess <= 0:
            return
        if columns[at].stretch:
            smaller = max(_LEAST_WIDTH, len(columns[at].name), widths[at] - excess)
            excess -= max(0, widths[at] - smaller)
            widths[at] = min(widths[at], smaller)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
