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

    YAML may have changed the value on the way (escapes, folded lines, indentation). Then the word at the place is
    looked for in the file, counting how often it comes before; failing that, the value's start has to do.
    """
    event = tree.node_at(path).event
    raw = tree.source[event.start_mark.index : event.end_mark.index]
    start = raw.find(text)
    position = start + offset if start >= 0 else _find_word(raw, text, offset, length)
    if position < 0:
        return tree.span(path)
    before = raw[:position]
    lines = before.count("\n")
    column = len(before) - before.rfind("\n") if lines else event.start_mark.column + 1 + position
    return Span(line=event.start_mark.line + 1 + lines, column=column, end_column=column + max(length, 1))


def _find_word(raw: str, text: str, offset: int, length: int) -> int:
    word = text[offset : offset + max(length, 1)].split()
    if not word:
        return -1
    position = -1
    for _ in range(text.count(word[0], 0, offset) + 1):
        position = raw.find(word[0], position + 1)
        if position < 0:
            break
    return position
