"""Inputs as JSON Schema: what a definition declares, and whether given values fit it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from taskforge.domain.workflow import JsonValue
from taskforge.language.paths import describe
from taskforge.language.problems import closest

#: Keywords of JSON Schema 2020-12 that a declared input may use. References would reach outside of the file.
KEYWORDS = frozenset(
    """type enum const default title description examples deprecated readOnly writeOnly format pattern minLength
    maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf items prefixItems contains minContains
    maxContains minItems maxItems uniqueItems properties patternProperties additionalProperties propertyNames required
    dependentRequired dependentSchemas minProperties maxProperties allOf anyOf oneOf not if then else
    unevaluatedItems unevaluatedProperties contentEncoding contentMediaType $comment""".split()  # noqa: SIM905 -- a table of names
)
REFERENCES = frozenset({"$ref", "$dynamicRef", "$id", "$anchor", "$dynamicAnchor", "$schema", "$defs", "$vocabulary"})

_SCHEMA_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SCHEMAS = frozenset(
    """items contains additionalProperties propertyNames not if then else unevaluatedItems
    unevaluatedProperties""".split()  # noqa: SIM905 -- a table of names
)
_TYPES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_MORE_TYPES = {"array": "a list", "object": "an object", "null": "null"}
_SHOWN_CHARS = 80

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFault:
    """What is wrong with a declared schema, and where in it."""

    path: Path
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Why a value does not fit its schema. `path` leads into the value."""

    path: Path
    message: str


def build_validator(schemas: Mapping[str, JsonValue]) -> jsonschema_rs.Draft202012Validator:
    """A validator for an object whose properties are the inputs. Raises jsonschema_rs.ValidationError.

    Patterns run on an engine without backtracking, and nothing is ever fetched.
    """
    return jsonschema_rs.Draft202012Validator(
        {"type": "object", "properties": dict(schemas)},
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(),
        offline=True,
    )


def find_mismatches(validator: jsonschema_rs.Draft202012Validator, values: Mapping[str, JsonValue]) -> list[Mismatch]:
    """Every way in which values do not fit."""
    return [
        Mismatch(path=tuple(error.instance_path), message=_explain(error))
        for error in validator.iter_errors(dict(values))
    ]


def check_schema(schema: Mapping[str, JsonValue], path: Path = ()) -> list[SchemaFault]:
    """Keywords that are unknown or refused, at any depth. Their values are checked by `build_validator`."""
    faults: list[SchemaFault] = []
    for keyword, value in schema.items():
        place = (*path, keyword)
        if keyword in REFERENCES:
            faults.append(SchemaFault(path=place, message=f"{keyword} is not supported", hint="write the schema out"))
        elif keyword not in KEYWORDS and not keyword.startswith("x-"):
            meant = closest(keyword, {word.lower(): word for word in KEYWORDS})
            hint = f"did you mean '{_spelled(meant)}'?" if meant else ""
            faults.append(SchemaFault(path=place, message=f"'{keyword}' is not a keyword of JSON Schema", hint=hint))
        elif keyword in _SCHEMA_MAPS and isinstance(value, dict):
            for name, inner in value.items():
                faults += check_schema(inner, (*place, name)) if isinstance(inner, dict) else []
        elif keyword in _SCHEMA_LISTS and isinstance(value, list):
            for index, inner in enumerate(value):
                faults += check_schema(inner, (*place, index)) if isinstance(inner, dict) else []
        elif keyword in _SCHEMAS and isinstance(value, dict):
            faults += check_schema(value, place)
    return faults


def _spelled(lowered: str) -> str:
    return next(word for word in KEYWORDS if word.lower() == lowered)


def _explain(error: jsonschema_rs.ValidationError) -> str:
    given = error.instance
    shown = _shown(given)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.Type(types=types):
            words = [_TYPES.get(name) or _MORE_TYPES.get(name, name) for name in types]
            return f"must be {' or '.join(words)}, not {_with_value(given)}"
        case jsonschema_rs.ValidationErrorKind.Enum(options=options):
            return f"must be one of {', '.join(_shown(option) for option in options)}, not {shown}"
        case jsonschema_rs.ValidationErrorKind.Constant(expected_value=expected):
            return f"must be {_shown(expected)}, not {shown}"
        case jsonschema_rs.ValidationErrorKind.Pattern(pattern=pattern):
            return f"must match the pattern {pattern}; {shown} does not"
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            return f"needs the property {_shown(name)}"
        case jsonschema_rs.ValidationErrorKind.Format(format=name):
            return f"must have the format {name}; {shown} does not"
        case jsonschema_rs.ValidationErrorKind.Minimum(limit=limit):
            return f"must be at least {limit}, not {shown}"
        case jsonschema_rs.ValidationErrorKind.Maximum(limit=limit):
            return f"must be at most {limit}, not {shown}"
        case _:
            return error.message if len(error.message) <= 3 * _SHOWN_CHARS else error.message[: 3 * _SHOWN_CHARS] + "…"


def _with_value(value: Any) -> str:
    if value is None or isinstance(value, list | dict):
        return describe(value)
    return f"{describe(value)} ({_shown(value)})"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
