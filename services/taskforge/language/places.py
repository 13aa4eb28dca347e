"""Where expressions stand in a file: finds them, and turns an offset in a value into a line and a column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from taskforge.domain.workflow import JsonValue
from taskforge.language.expressions import OPEN
from taskforge.language.problems import Span
from taskforge.language.yaml_tree import Path, Tree

_SECRET_KEYS = frozenset({"url", "query", "headers", "json", "form", "body", "auth"})
_REFERENCE = re.compile(r"\w+(?:\.\w+|\[(?:\d+|'[^']*'|\"[^\"]*\")\])*")


class Kind(StrEnum):
    """What may stand in a place."""

    CONDITION = "condition"  # exactly one expression, true or false
    TEMPLATE = "template"  # text with expressions, or one expression
    HTTP = "http"  # a template that may also hold secrets
    FIXED = "fixed"  # no expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A string of the document that holds `${{`."""

    path: Path
    text: str
    kind: Kind


def step_places(raw: JsonValue, path: Path) -> Iterator[Place]:
    """Every place of a step, without the steps nested in it."""
    for found, text, is_key in _strings(raw, ()):
        kind = Kind.FIXED if is_key else _step_kind(found)
        if kind is not None:
            yield Place(path=(*path, *found), text=text, kind=kind)


def template_places(raw: JsonValue, path: Path) -> Iterator[Place]:
    """Every place of a value that is a template as a whole."""
    for found, text, is_key in _strings(raw, ()):
        yield Place(path=(*path, *found), text=text, kind=Kind.FIXED if is_key else Kind.TEMPLATE)


def _strings(value: JsonValue, path: Path) -> Iterator[tuple[Path, str, bool]]:
    if isinstance(value, str):
        if OPEN in value:
            yield path, value, False
    elif isinstance(value, dict):
        for key, member in value.items():
            if OPEN in key:
                yield (*path, key), key, True
            if not (key == "steps" and len(path) == 2 and path[0] == "switch"):
                yield from _strings(member, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, (*path, index))


def _step_kind(path: Path) -> Kind | None:
    match path:
        case ("if",) | ("switch", int(), "if"):
            return Kind.CONDITION
        case ("http", str(key), *_) if key in _SECRET_KEYS:
            return Kind.HTTP
        case ("transform", "jq"):
            return None  # a program of its own, checked as such
        case ("transform", "value" | "input", *_) | ("log" | "fail",) | ("log" | "fail", "message"):
            return Kind.TEMPLATE
        case ("log", "data", *_):
            return Kind.TEMPLATE
        case _:
            return Kind.FIXED


def reference_length(source: str, offset: int) -> int:
    """How long the reference at an offset of an expression is."""
    found = _REFERENCE.match(source, offset)
    return len(found.group()) if found else 1


def locate(tree: Tree, path: Path, text: str, offset: int, length: int = 1) -> Span:
    """The place in the file of `text[offset:]`, where `text` is the value at `path`.

    Values that YAML changed on the way (escapes, folded lines) are found by the line that holds the place; if that is
    not in the file either, the start of the value has to do.
    """
    event = tree.node_at(path).event
    raw = tree.source[event.start_mark.index : event.end_mark.index]
    start = raw.find(text)
    if start < 0:
        line_start = text.rfind("\n", 0, offset) + 1
        line = text[line_start:].split("\n", 1)[0].strip()
        indent = len(text[line_start:]) - len(text[line_start:].lstrip(" "))
        start = raw.find(line) if line else -1
        offset = max(0, offset - line_start - indent)
    if start < 0:
        return tree.span(path)
    position = start + offset
    before = raw[:position]
    lines = before.count("\n")
    column = len(before) - before.rfind("\n") if lines else event.start_mark.column + 1 + position
    return Span(line=event.start_mark.line + 1 + lines, column=column, end_column=column + max(length, 1))
