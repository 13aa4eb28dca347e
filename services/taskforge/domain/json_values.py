"""What may be stored as JSON: one check for step outputs, run inputs and sandbox replies.

PostgreSQL refuses NUL in strings, lone surrogates, NaN and infinities, and it does so when a result is committed,
which is too late. So every value is checked where it is made, and what cannot be stored becomes a typed failure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import c_encode_basestring, c_make_encoder  # type: ignore[attr-defined]

from taskforge.domain.workflow import JsonValue

MAX_DEPTH = 64  #: nested lists and objects; a scalar has depth 0, `[]` has depth 1
MAX_BYTES = 1024 * 1024  #: of the encoded form: one step's output, one run's inputs
MAX_PROBLEMS = 10  #: a value that is wrong everywhere is not reported everywhere

_MAX_PATH_CHARS = 200
_SCALARS = frozenset({str, int, float, bool, type(None)})
_ALLOWED = _SCALARS | {dict, list}
_KEYS = frozenset({str})
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
# What `_encoder.encode` makes anew for every value, which costs more than to encode a small one.
_chunks = c_make_encoder(None, _encoder.default, c_encode_basestring, None, ":", ",", False, False, False)
_canonical = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, sort_keys=True, separators=(",", ":")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLimits:
    """How large a value may be."""

    max_bytes: int = MAX_BYTES
    max_depth: int = MAX_DEPTH


STORED = JsonLimits()  #: the limits of everything that reaches the database


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonProblem:
    """Why a value is refused, and where: `path` is a JSON Pointer, empty for the value itself."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def check_json(value: JsonValue, limits: JsonLimits = STORED) -> list[JsonProblem] | None:
    """Say what is wrong with a value, or None. Never raises; cycles and shared sub-trees are harmless."""
    checked = encode_checked(value, limits)
    return None if isinstance(checked, bytes) else checked


def encode_checked(value: JsonValue, limits: JsonLimits = STORED) -> bytes | list[JsonProblem]:
    """Check a value and encode it in one pass, keeping the order of keys; the problems instead if there are any."""
    sound = _is_sound(value, limits)
    if sound is None:
        return _oversize(limits)
    try:
        encoded = "".join(_chunks(value, 0)).encode() if sound else b""
    except ValueError:  # NaN, an infinity, a lone surrogate, or an integer too long to print
        sound = False
    # A quick look that may be wrong (the text \u0000 is harmless once its backslash is escaped), then a careful one.
    if not sound or b"\\u0000" in encoded:
        problems = _find_problems(value, limits)
        if problems or not sound:
            return problems or _oversize(limits)
    return encoded if len(encoded) <= limits.max_bytes else _oversize(limits)


def encode(value: JsonValue) -> bytes:
    """Encode a checked value canonically: sorted keys, no spaces, UTF-8. Equal values give equal bytes."""
    return _canonical.encode(value).encode()


def _is_sound(value: JsonValue, limits: JsonLimits) -> bool | None:
    """Check types, keys and depth level by level; None when there are more nodes than bytes allowed.

    Exact types keep this to C-speed set operations; the budget also ends cycles, whose levels never run out.
    """
    if type(value) in _SCALARS:
        return True
    level: list[JsonValue] = [value]
    budget = limits.max_bytes
    for _ in range(limits.max_depth):
        below: list[JsonValue] = []
        for node in level:
            children = node
            if type(node) is dict:
                if not _KEYS.issuperset(map(type, node)):
                    return False
                children = node.values()
            elif type(node) is not list:
                return False
            budget -= len(children)
            if budget < 0:
                return None
            if not _SCALARS.issuperset(map(type, children)):
                below.extend(child for child in children if type(child) not in _SCALARS)
        if not below:
            return True
        level = below
    return False


def _oversize(limits: JsonLimits) -> list[JsonProblem]:
    return [JsonProblem(path="", message=f"the value is larger than {limits.max_bytes} bytes of JSON")]


def _find_problems(value: JsonValue, limits: JsonLimits) -> list[JsonProblem]:
    """Walk a value that failed the quick check and name the places, up to MAX_PROBLEMS."""
    problems: list[JsonProblem] = []
    pending: list[tuple[str, int, JsonValue]] = [("", 0, value)]
    budget = limits.max_bytes
    while pending and len(problems) < MAX_PROBLEMS and budget >= 0:
        path, depth, node = pending.pop()
        budget -= 1
        message = _complaint(node)
        if message is None and type(node) in (dict, list) and depth >= limits.max_depth:
            message = f"nested deeper than {limits.max_depth} levels"
        if message is not None:
            problems.append(JsonProblem(path=path[:_MAX_PATH_CHARS], message=message))
            continue
        if type(node) is dict:
            problems.extend(_key_problems(path, node))
        pending.extend((f"{path}/{step}", depth + 1, child) for step, child in _children(node))
    return problems[:MAX_PROBLEMS]


def _children(node: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if type(node) is dict:
        # Escaped as in RFC 6901, and printable whatever the key holds.
        for key, child in reversed(node.items()):
            yield ascii(str(key))[1:-1].replace("~", "~0").replace("/", "~1"), child
    elif type(node) is list:
        for index in range(len(node) - 1, -1, -1):
            yield str(index), node[index]


def _key_problems(path: str, node: dict[JsonValue, JsonValue]) -> Iterator[JsonProblem]:
    for key in node:
        message = _complaint(key) if type(key) is str else f"{type(key).__name__} is not a valid key"
        if message is not None:
            yield JsonProblem(path=path[:_MAX_PATH_CHARS], message=f"key {ascii(key)[:60]}: {message}")


def _complaint(node: JsonValue) -> str | None:
    """What is wrong with this node alone."""
    if type(node) not in _ALLOWED:
        return f"{type(node).__name__} is not a JSON type"
    if type(node) is float and not math.isfinite(node):
        return f"{node} is not a JSON number"
    if type(node) is int:
        return _integer_complaint(node)
    return _string_complaint(node) if type(node) is str else None


def _integer_complaint(node: int) -> str | None:
    try:
        str(node)
    except ValueError:
        return "the integer has too many digits"
    return None


def _string_complaint(node: str) -> str | None:
    if "\0" in node:
        return "the string holds a NUL character"
    try:
        node.encode()
    except UnicodeEncodeError:
        return "the string holds a lone surrogate"
    return None
