"""Paths into a run's data (`steps.fetch.output.body[0].tag`): read, prune, and say in words why one leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from taskforge.domain.workflow import JsonValue
from taskforge.language.problems import closest

Path = tuple[str | int, ...]

_MISSING = object()
_SIMPLE = re.compile(
    r"""[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:0|[1-9][0-9]{0,8})\]|\['[^'\\\n]*'\]|\["[^"\\\n]*"\])*"""
)
_PART = re.compile(r"""\.?([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")
_RESERVED = frozenset({"true", "false", "null", "in"})
_SHOWN_KEYS = 12
_MAX_PARTS = 24  # CEL itself refuses deeper ones


class PathError(Exception):
    """The path leads nowhere in this data; the message says where it ends and why."""


def parse_simple(source: str) -> Path | None:
    """The path of an expression that is nothing but a path, else None."""
    if not _SIMPLE.fullmatch(source):
        return None
    path: list[str | int] = []
    for name, index, single, double in _PART.findall(source):
        if name in _RESERVED:
            return None
        path.append(int(index) if index else name or single or double)
    return tuple(path) if len(path) <= _MAX_PARTS and "" not in path else None


def format_reference(path: Path) -> str:
    """Write a path as CEL."""
    text = str(path[0])
    for part in path[1:]:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part):
            text += f".{part}"
        else:
            text += f"['{part}']"
    return text


def look_up(path: Path, context: Mapping[str, JsonValue]) -> JsonValue:
    """The value at a path. Raises PathError."""
    value: JsonValue = context
    for depth, part in enumerate(path):
        value = value.get(part, _MISSING) if type(value) is dict else _child(value, part)
        if value is _MISSING:
            raise PathError(explain_missing(path, depth, context))
    return value


def _child(value: JsonValue, part: str | int) -> JsonValue:
    if type(value) is dict:
        return value.get(part, _MISSING)
    if type(value) is list:
        return value[part] if isinstance(part, int) and part < len(value) else _MISSING
    return value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING


def prune(paths: Iterable[Path], context: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The smallest part of the context that holds what the paths, short ones first, lead to. Lists are kept whole."""
    pruned: dict[str, JsonValue] = {}
    for path in paths:
        source: JsonValue = context
        target = pruned
        for depth, part in enumerate(path):
            found = source.get(part, _MISSING) if type(source) is dict else _child(source, part)
            if found is _MISSING or type(part) is not str:
                break
            last = type(found) is not dict or depth == len(path) - 1 or type(path[depth + 1]) is int
            if last:
                target[part] = found
                break
            # A shorter path may have put the whole value here already; it must not be written into.
            if target.get(part) is found:
                break
            target = target.setdefault(part, {})
            source = found
    return pruned


def find_missing(paths: Iterable[Path], context: Mapping[str, JsonValue], key: str | None = None) -> str | None:
    """Explain the first path that leads nowhere; with `key`, only one that ends at that key."""
    for path in paths:
        value: JsonValue = context
        for depth, part in enumerate(path):
            value = _child(value, part)
            if value is _MISSING:
                if key is None or str(part) == key:
                    return explain_missing(path, depth, context)
                break
    return None


def explain_missing(path: Path, depth: int, context: Mapping[str, JsonValue]) -> str:
    """Why `path` has nothing at position `depth`, in words."""
    parent: JsonValue = context
    for part in path[:depth]:
        parent = _child(parent, part)
    part = path[depth]
    where = format_reference(path[:depth]) if depth else ""
    special = _explain_root(path, depth, parent)
    if special is not None:
        return special
    if isinstance(parent, dict):
        known = [str(key) for key in parent]
        meant = closest(str(part), known)
        shown = ", ".join(sorted(known)[:_SHOWN_KEYS]) + (", …" if len(known) > _SHOWN_KEYS else "")
        hint = f"; did you mean '{meant}'?" if meant else f"; it has: {shown}" if known else ""
        return f"no key '{part}' in {where}{hint}"
    if isinstance(parent, list):
        if isinstance(part, int):
            return f"no item [{part}] in {where}: the list has {len(parent)}"
        return f"{where} is a list; '{part}' needs an item of it, such as {where}[0]"
    return f"{where} is {describe(parent)}; it has no '{part}'"


def _explain_root(path: Path, depth: int, parent: JsonValue) -> str | None:
    """What is missing in the parts of a context whose meaning is known."""
    root = path[0]
    if depth == 0:
        return f"'{root}' is not available here"
    if depth == 1 and root == "inputs":
        return f"the input '{path[1]}' was not given; guard it with has({format_reference(path[:2])})"
    if depth == 1 and root == "secrets":
        return f"the secret '{path[1]}' is not set"
    if depth == 1 and root == "trigger" and isinstance(parent, dict) and "type" in parent:
        return f"the run was started by a {parent['type']} trigger, which has no '{path[1]}'"
    if depth == 1 and root == "steps":
        return f"step '{path[1]}' has not ended yet"
    if depth == 2 and root == "steps" and path[2] in ("output", "error") and isinstance(parent, dict):
        return _explain_step(str(path[1]), str(path[2]), str(parent.get("state", "")), format_reference(path[:3]))
    return None


def _explain_step(step: str, field: str, state: str, reference: str) -> str:
    how = {"SKIPPED": "was skipped", "FAILED": "failed", "CANCELLED": "was cancelled", "SUCCEEDED": "succeeded"}
    article = "an error" if field == "error" else "output"
    return f"step '{step}' {how.get(state, 'has not ended')}, it has no {article}; guard it with has({reference})"


def describe(value: JsonValue) -> str:
    """A value's type in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def measure(paths: Iterable[Path], context: Mapping[str, JsonValue], budget: int) -> int:
    """How much CEL would have to convert for these paths: nodes plus a share of text. Stops above the budget."""
    cost = 0
    for path in paths:
        value: JsonValue = context
        for part in path:
            if type(part) is int:
                break
            value = value.get(part, _MISSING) if type(value) is dict else _child(value, part)
        pending = [value]
        while pending:
            node = pending.pop()
            cost += 1 + (len(node) // 32 if type(node) is str else 0)
            if type(node) is dict or type(node) is list:
                if cost + len(pending) + len(node) > budget:
                    return cost + len(pending) + len(node)
                pending.extend(node.values() if type(node) is dict else node)
        if cost > budget:
            break
    return cost
