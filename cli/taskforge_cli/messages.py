"""Messages of the API as plain data: the JSON that `-o json` shows, which is a contract.

Field names as in the API, every field always there, states without their prefix, times RFC 3339 in UTC, 64-bit numbers
as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message


def to_plain(message: Message) -> Any:
    """A message as dicts, lists, strings, numbers, booleans and None."""
    special = _SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None:
        return special(message)
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def enum_name(descriptor: EnumDescriptor, number: int) -> str:
    """`SUCCEEDED` for `STATE_SUCCEEDED`; a number that this version does not know stays a number."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return str(number)
    return str(value.name).removeprefix(_snake(descriptor.name) + "_")


def state_of(message: Any, field: str = "state") -> str:
    """The name of a message's enum field without its prefix."""
    return enum_name(message.DESCRIPTOR.fields_by_name[field].enum_type, getattr(message, field))


def last_part(name: str) -> str:
    """The id at the end of a resource name: `hello` for `workflows/hello`."""
    return name.rpartition("/")[2]


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): value[key] for key in sorted(value)}
    if field.is_repeated:
        return [_single(item, field) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return to_plain(value)
    if field.enum_type is not None:
        return enum_name(field.enum_type, value)
    return number(value) if isinstance(value, float) else value


def number(value: float) -> int | float | None:
    """A float as JSON can hold it: whole numbers without a point."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "number_value":
        return number(value)
    return to_plain(value) if kind in ("struct_value", "list_value") else value


def _struct(message: Any) -> dict[str, Any]:
    return {key: _value(message.fields[key]) for key in sorted(message.fields)}


def _list(message: Any) -> list[Any]:
    return [_value(item) for item in message.values]


def _timestamp(message: Any) -> str:
    return str(message.ToJsonString())


_SPECIAL: Mapping[str, Callable[[Any], Any]] = {
    "google.protobuf.Value": _value,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Empty": lambda message: {},
}


def _snake(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() and at else letter for at, letter in enumerate(name)).upper()
