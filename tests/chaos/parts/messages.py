"""Messages by chance, of any type: fields that are missing, odd, huge, or the name of something that exists."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "null",
    "\0",
    "a\0b",
    "../../etc/passwd",
    "runs/",
    "runs/0",
    "runs/ffffffff-ffff-ffff-ffff-ffffffffffff",
    "workflows/-",
    "workflows/a/b/c",
    "%00",
    "\u202ex\u0301",
    "\U0001f4a9" * 10,
    "'; DROP TABLE runs; --",
    "${{ 1 / 0 }}",
    "name: x\nsteps: [{id: a, log: x}]\n",
    "x" * 300,
    "x" * 100_000,
)
_NUMBERS = (0, 1, -1, 2, 100, 501, 2**31 - 1, -(2**31))
_LONG_NUMBERS = (*_NUMBERS, 2**63 - 1, -(2**63), 253402300800, -62135596801)
_FLOATS = (0.0, -0.0, 1.5, -1e308, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
_DEEPEST = 6


class Messages:
    """Makes messages. `known` are names and ids that mean something to the product."""

    def __init__(self, rng: random.Random, known: Sequence[str]) -> None:
        self._rng = rng
        self._known = list(known)

    def of(self, kind: Any, depth: int = 0) -> Any:
        """A message of a type, which is given by its descriptor."""
        message: Message = GetMessageClass(kind)()
        for field in kind.fields:
            if self._rng.random() < 0.65 and depth < _DEEPEST:
                self._fill(message, field, depth)
        return message

    def text(self) -> str:
        """A text that may be a name."""
        return self._rng.choice(self._known if self._known and self._rng.random() < 0.5 else _TEXTS)

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        place = getattr(message, field.name)
        count = self._rng.choice((0, 1, 1, 2, 20))
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._fill_map(place, field.message_type, count, depth)
        elif field.is_repeated:
            if field.message_type is not None:
                place.extend(self.of(field.message_type, depth + 1) for _ in range(count))
            else:
                place.extend(self._scalar(field) for _ in range(count))
        elif field.message_type is not None:
            place.CopyFrom(self.of(field.message_type, depth + 1))
        else:
            setattr(message, field.name, self._scalar(field))

    def _fill_map(self, place: Any, entry: Any, count: int, depth: int) -> None:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        for _ in range(count):
            if value.message_type is not None:
                place[self._scalar(key)].CopyFrom(self.of(value.message_type, depth + 1))
            else:
                place[self._scalar(key)] = self._scalar(value)

    def _scalar(self, field: FieldDescriptor) -> Any:
        if field.enum_type is not None:
            return self._rng.choice([*(value.number for value in field.enum_type.values), 99, -1])
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.text().encode()
        return _SCALARS[field.cpp_type](self)

    def _number(self) -> int:
        return self._rng.choice(_NUMBERS)


_SCALARS: Mapping[int, Callable[[Messages], Any]] = {
    FieldDescriptor.CPPTYPE_INT32: Messages._number,
    FieldDescriptor.CPPTYPE_INT64: lambda own: own._rng.choice(_LONG_NUMBERS),
    FieldDescriptor.CPPTYPE_UINT32: lambda own: abs(own._rng.choice(_NUMBERS)),
    FieldDescriptor.CPPTYPE_UINT64: lambda own: min(2**63, abs(own._rng.choice(_LONG_NUMBERS))),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda own: own._rng.choice(_FLOATS),
    FieldDescriptor.CPPTYPE_FLOAT: lambda own: own._rng.choice(_FLOATS),
    FieldDescriptor.CPPTYPE_BOOL: lambda own: own._rng.random() < 0.5,
    FieldDescriptor.CPPTYPE_STRING: Messages.text,
}
