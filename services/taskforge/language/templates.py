"""JSON whose strings may hold `${{ }}`: compiled once, rendered often. Results are never read as templates again."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from taskforge.domain.workflow import JsonValue
from taskforge.language import cel
from taskforge.language.cel import CompileError, Expression
from taskforge.language.expressions import OPEN, ScanError, split_template

_NOTHING: Mapping[str, JsonValue] = {}
_to_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Template(ABC):
    """A compiled value. Immutable and safe to share."""

    __slots__ = ("expressions", "is_cheap")

    def __init__(self, expressions: tuple[Expression, ...]) -> None:
        self.expressions = expressions
        self.is_cheap = all(expression.is_cheap for expression in expressions)  #: by form, whatever the data

    @abstractmethod
    def _render(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue: ...

    def evaluate(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue] = _NOTHING) -> JsonValue:
        """Render it. `known` holds results that were computed elsewhere, by source. Raises ExpressionError.

        Parts without expressions are shared between renderings: the result must not be changed in place.
        """
        return self._render(context, known)

    def costly(self, context: Mapping[str, JsonValue]) -> tuple[Expression, ...]:
        """The expressions that belong in the sandbox for this context; usually none."""
        return tuple(expression for expression in self.expressions if expression.costly(context))


class _Constant(Template):
    __slots__ = ("_value",)

    def __init__(self, value: JsonValue) -> None:
        super().__init__(())
        self._value = value

    def _render(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue:
        return self._value


class _Whole(Template):
    """A string that is one expression: the value keeps its type."""

    __slots__ = ("_expression",)

    def __init__(self, expression: Expression) -> None:
        super().__init__((expression,))
        self._expression = expression

    def _render(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue:
        return _value(self._expression, context, known)


class _Text(Template):
    """Text with expressions in it: always a string; what is not text is written as JSON."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[str | Expression, ...]) -> None:
        super().__init__(tuple(part for part in parts if isinstance(part, Expression)))
        self._parts = parts

    def _render(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue:
        pieces = []
        for part in self._parts:
            value = part if isinstance(part, str) else _value(part, context, known)
            pieces.append(value if isinstance(value, str) else _to_text(value))
        return "".join(pieces)


class _Object(Template):
    __slots__ = ("_constants", "_open")

    def __init__(self, members: dict[str, Template]) -> None:
        super().__init__(_all_expressions(members.values()))
        # In the order of the file, with nothing where something is to be rendered.
        self._constants = {
            key: member._value if isinstance(member, _Constant) else None for key, member in members.items()
        }
        self._open = [(key, member) for key, member in members.items() if not isinstance(member, _Constant)]

    def _render(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue:
        rendered = self._constants.copy()
        for key, member in self._open:
            rendered[key] = member._render(context, known)
        return rendered


class _List(Template):
    __slots__ = ("_items",)

    def __init__(self, items: list[Template]) -> None:
        super().__init__(_all_expressions(items))
        self._items = items

    def _render(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue:
        return [item._render(context, known) for item in self._items]


def compile_template(value: JsonValue) -> Template:
    """Compile any JSON. Raises ScanError or CompileError for the first string that is wrong."""
    if isinstance(value, str):
        return _compile_text(value) if OPEN in value else _Constant(value)
    if isinstance(value, Mapping):
        members = {key: compile_template(member) for key, member in value.items()}
        return _Object(members) if _is_open(members.values()) else _Constant(dict(value))
    if isinstance(value, list | tuple):
        items = [compile_template(item) for item in value]
        return _List(items) if _is_open(items) else _Constant(list(value))
    return _Constant(value)


@lru_cache(maxsize=4096)
def _compile_text(text: str) -> Template:
    parts = split_template(text)
    compiled = tuple(cel.compile(part.text) if part.is_code else part.text for part in parts)
    if len(compiled) == 1 and isinstance(compiled[0], Expression):
        return _Whole(compiled[0])
    return _Text(compiled)


def find_strings(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string that holds an expression, with its path."""
    if isinstance(value, str):
        if OPEN in value:
            yield path, value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from find_strings(member, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_strings(item, (*path, index))


def _value(expression: Expression, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue]) -> JsonValue:
    if known and expression.source in known:
        return known[expression.source]
    return expression.evaluate(context)


def _is_open(templates: Iterable[Template]) -> bool:
    return any(template.expressions for template in templates)


def _all_expressions(templates: Iterable[Template]) -> tuple[Expression, ...]:
    found = (expression for template in templates for expression in template.expressions)
    return tuple({expression.source: expression for expression in found}.values())


__all__ = ["CompileError", "ScanError", "Template", "compile_template", "find_strings"]
