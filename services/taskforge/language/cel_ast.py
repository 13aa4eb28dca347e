"""Reads what an expression refers to from CEL's own syntax tree.

The library hands it out serialised, as `cel.expr.CheckedExpr`. Only a few fields are needed, so they are read from the
protobuf wire format directly: generated stubs for two foreign files would be more code than this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from taskforge.language.paths import Path

_ANY_VALUE, _CHECKED_EXPR, _CHECKED_SOURCE = 2, 4, 5
_ID, _CONSTANT, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 2, 3, 4, 5, 6, 7, 8, 9
_INT64, _UINT64, _STRING = 3, 4, 6
_INDEX = frozenset({"_[_]", "_[?_]"})
_OPTIONAL_SELECT = "_?._"

_Fields = list[tuple[int, int | bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One use of a variable. `guarded`: tested by has() or read as an optional. `dynamic`: a computed index follows."""

    path: Path
    offset: int
    guarded: bool = False
    dynamic: bool = False


@dataclass(slots=True)
class Usage:
    """What an expression uses."""

    references: list[Reference] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    has_comprehension: bool = False
    has_computed_pattern: bool = False  #: `matches` with a pattern that is not a constant


def read_usage(serialized: bytes) -> Usage:
    """Walk a serialised CheckedExpr."""
    checked = _message(_fields(serialized), _ANY_VALUE)
    top = _fields(checked)
    reader = _Reader(_positions(_message(top, _CHECKED_SOURCE)))
    reader.visit(_fields(_message(top, _CHECKED_EXPR)), frozenset())
    return reader.usage


class _Reader:
    """One walk. Names that a comprehension declares are not references."""

    def __init__(self, positions: dict[int, int]) -> None:
        self.positions = positions
        self.usage = Usage()

    def visit(self, expr: _Fields, declared: frozenset[str]) -> None:
        chain = self.chain(expr, declared)
        if chain is not None:
            if chain.path[0] not in declared:
                self.usage.references.append(chain)
            return
        for number, value in expr:
            if not isinstance(value, bytes):
                continue
            if number in (_SELECT, _LIST):
                for part in _messages(_fields(value), 1):
                    self.visit(_fields(part), declared)
            elif number == _CALL:
                self.call(_fields(value), declared)
            elif number == _STRUCT:
                self.struct(_fields(value), declared)
            elif number == _COMPREHENSION:
                self.comprehension(_fields(value), declared)

    def call(self, call: _Fields, declared: frozenset[str]) -> None:
        name = _text(call, 2)
        self.usage.calls.append(name)
        arguments = list(_messages(call, 3))
        if name == "matches" and not any(number == _CONSTANT for number, _ in _fields(arguments[-1])):
            self.usage.has_computed_pattern = True
        for part in [*_messages(call, 1), *arguments]:
            self.visit(_fields(part), declared)

    def struct(self, struct: _Fields, declared: frozenset[str]) -> None:
        for entry in _messages(struct, 2):
            for number, value in _fields(entry):
                if number in (3, 4) and isinstance(value, bytes):  # a map's key; any value
                    self.visit(_fields(value), declared)

    def comprehension(self, loop: _Fields, declared: frozenset[str]) -> None:
        self.usage.has_comprehension = True
        inner = declared | {_text(loop, 1), _text(loop, 3), _text(loop, 8)}
        for number in (2, 4):  # the range and the accumulator's first value stand outside
            self.visit(_fields(_message(loop, number)), declared)
        for number in (5, 6, 7):
            self.visit(_fields(_message(loop, number)), inner)

    def chain(self, expr: _Fields, declared: frozenset[str]) -> Reference | None:
        """The reference that a chain of selections and constant indexes makes, if it starts at a variable."""
        parts: list[str | int] = []
        guarded = dynamic = False
        while True:
            kind, body = _kind(expr)
            if kind == _IDENT:
                path = (_text(body, 1), *reversed(parts))
                return Reference(path=path, offset=self.offset(expr), guarded=guarded, dynamic=dynamic)
            if kind == _SELECT:
                parts.append(_text(body, 2))
                guarded = guarded or any(number == 3 and value for number, value in body)
                expr = _fields(_message(body, 1))
                continue
            function = _text(body, 2) if kind == _CALL else ""
            if function not in _INDEX and function != _OPTIONAL_SELECT:
                return None
            guarded = guarded or function != "_[_]"
            operand, index = _messages(body, 3)
            constant = _constant(_fields(index))
            if constant is None:
                # What follows a computed index is unknown; the index itself may read something.
                self.visit(_fields(index), declared)
                parts.clear()
                dynamic = True
            else:
                parts.append(constant)
            expr = _fields(operand)

    def offset(self, expr: _Fields) -> int:
        return self.positions.get(next((int(value) for number, value in expr if number == _ID), 0), 0)


def _kind(expr: _Fields) -> tuple[int, _Fields]:
    for number, value in expr:
        if number > _ID and isinstance(value, bytes):
            return number, _fields(value)
    return 0, []


def _constant(expr: _Fields) -> str | int | None:
    kind, body = _kind(expr)
    if kind == _CONSTANT:
        for number, value in body:
            if number == _STRING and isinstance(value, bytes):
                return value.decode()
            if number in (_INT64, _UINT64) and isinstance(value, int) and value < 1 << 31:
                return value
    return None


def _positions(source_info: bytes) -> dict[int, int]:
    found = {}
    for entry in _messages(_fields(source_info), 4):
        numbers = dict(_fields(entry))
        found[int(numbers.get(1, 0))] = int(numbers.get(2, 0))
    return found


# --- the protobuf wire format ---------------------------------------------------------------------


def _fields(data: bytes) -> _Fields:
    """The fields of one message: varints as numbers, the rest as bytes."""
    fields: _Fields = []
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            number, position = _varint(data, position)
            fields.append((tag >> 3, number))
            continue
        if wire == 2:
            length, position = _varint(data, position)
        else:
            length = 8 if wire == 1 else 4
        fields.append((tag >> 3, data[position : position + length]))
        position += length
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7


def _messages(fields: _Fields, number: int) -> Iterator[bytes]:
    return (value for found, value in fields if found == number and isinstance(value, bytes))


def _message(fields: _Fields, number: int) -> bytes:
    return next(_messages(fields, number), b"")


def _text(fields: _Fields, number: int) -> str:
    return _message(fields, number).decode()
