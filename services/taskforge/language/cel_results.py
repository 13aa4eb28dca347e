"""CEL values to plain JSON: times and durations become text, what JSON has no word for is refused."""

from __future__ import annotations

import datetime
import math
from typing import Any

from taskforge.domain.workflow import JsonValue
from taskforge.language.cel_errors import ExpressionError

_PLAIN = frozenset({str, bool, int, type(None)})


def to_json(plain: Any) -> JsonValue:
    """The JSON form of a result of CEL."""
    return plain if type(plain) in _PLAIN else _convert(plain)


def _convert(plain: Any) -> JsonValue:
    match plain:
        case None | bool() | int() | str():
            return plain
        case float():
            if not math.isfinite(plain):
                raise ExpressionError(f"the result is {plain}, which is not a JSON number")
            return plain
        case list():
            return [_convert(item) for item in plain]
        case dict():
            return {_key(key): _convert(item) for key, item in plain.items()}
        case datetime.datetime():
            return plain.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
        case datetime.timedelta():
            return f"{plain.total_seconds():g}s"
        case bytes() | bytearray():
            raise ExpressionError("the result is bytes, which JSON has not: use base64.encode(…) or string(…)")
        case _:
            raise ExpressionError("the result is a type, which JSON has not: use string(type(…))")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ExpressionError(f"the key {key} is not text; JSON objects have text keys: write string({key})")
    return key
