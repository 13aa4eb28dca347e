"""JSON text and the protobuf types that stand for JSON: `Value`, `Struct`.

Three things of JSON do not fit into protobuf's types:
- numbers are doubles: an integer beyond 2^53 loses its last digits, and one beyond a double's range becomes its text;
- messages nest at most 100 deep, which is about 30 objects: what lies deeper becomes its compact JSON text;
- `5` and `5.0` are one number: coming in, a number without a fraction is an integer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct, Value

from taskforge.domain.workflow import JsonValue

# protobuf's limit, less the messages around a value (a stream's answer, a run, a step, an attempt, an error).
_LEVELS = 100 - 10
_OBJECT_LEVELS = 3  # Value, Struct, map entry
_LIST_LEVELS = 2  # Value, ListValue
_EXACT = 2**53


def value_from_text(text: str | None) -> Value | None:
    """A `Value` from JSON text, None from None."""
    return None if text is None else value_from(json.loads(text))


def value_from(document: JsonValue) -> Value:
    """A `Value` from decoded JSON."""
    value = Value()
    _fill(value, document, _LEVELS)
    return value


def struct_from_text(text: str | None) -> Struct | None:
    """A `Struct` from the text of a JSON object, None from None."""
    return None if text is None else struct_from(json.loads(text))


def struct_from(document: Mapping[str, JsonValue]) -> Struct:
    """A `Struct` from a decoded JSON object."""
    struct = Struct()
    _fill_object(struct, document, _LEVELS - 1)
    return struct


def json_from_struct(struct: Struct) -> dict[str, JsonValue]:
    """Decoded JSON from a `Struct`. Numbers may be NaN or infinite, which JSON is not: check what comes out."""
    return {name: _json_from(value) for name, value in struct.fields.items()}


def _fill(value: Value, document: JsonValue, levels: int) -> None:
    kind = type(document)
    if kind is str:
        value.string_value = document
    elif kind is bool:
        value.bool_value = document
    elif kind is float:
        value.number_value = document
    elif kind is int:
        _fill_integer(value, document)
    elif document is None:
        value.null_value = 0  # type: ignore[assignment]
    elif kind is dict and levels > _OBJECT_LEVELS:
        value.struct_value.SetInParent()
        _fill_object(value.struct_value, document, levels)
    elif kind is list and levels > _LIST_LEVELS:
        value.list_value.SetInParent()
        values = value.list_value.values
        for item in document:
            _fill(values.add(), item, levels - _LIST_LEVELS)
    else:
        value.string_value = json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _fill_object(struct: Struct, document: Mapping[str, JsonValue], levels: int) -> None:
    fields = struct.fields
    for name, item in document.items():
        _fill(fields[name], item, levels - _OBJECT_LEVELS)


def _fill_integer(value: Value, number: int) -> None:
    try:
        value.number_value = float(number)
    except OverflowError:
        value.string_value = str(number)


def _json_from(value: Value) -> JsonValue:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return _number(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return json_from_struct(value.struct_value)
    if kind == "list_value":
        return [_json_from(item) for item in value.list_value.values]
    return None


def _number(number: float) -> int | float:
    if math.isfinite(number) and number == math.floor(number) and abs(number) <= _EXACT:
        return int(number)
    return number
