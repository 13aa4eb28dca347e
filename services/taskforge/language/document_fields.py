"""Field types of workflow documents: what a value must look like, with messages for the author of the file."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from taskforge.domain.json_values import MAX_BYTES
from taskforge.language.problems import closest
from taskforge.language.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

WORKFLOW_NAME = r"^[a-z][a-z0-9-]{0,62}$"
STEP_ID = r"^[a-z][a-z0-9_-]{0,62}$"
INPUT_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
SECRET_NAME = r"^[A-Z][A-Z0-9_]{0,62}$"  # noqa: S105 -- a pattern
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"

PART = "x-part"
RETRYABLE_CLASSES = ("connect", "timeout", "network", "tls", "4xx", "5xx")
_STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_EXPRESSION = re.compile(r"\s*\$\{\{.*\}\}\s*", re.DOTALL)


class Document(BaseModel):
    """A part of a workflow file: strict, closed, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def part(name: str) -> dict[str, str]:
    """Stands for a reference to another document in a published schema: `schema.py` puts the reference in its place.

    Lists of steps and triggers are validated item by item, so that a fault in one does not hide those of the others;
    pydantic therefore does not know what their items are.
    """
    return {PART: name}


def fault(message: str, hint: str = "", code: str = "TF1101") -> PydanticCustomError:
    """An error whose message is shown as it is."""
    # Braces would be read as placeholders.
    return PydanticCustomError("taskforge", "{message}", {"message": message, "hint": hint, "code": code})


def _matches(pattern: str, what: str) -> BeforeValidator:
    compiled = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and not compiled.fullmatch(value):
            raise fault(f"'{value[:80]}' is not {what}", f"it must match {pattern}")
        return value

    return BeforeValidator(check)


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise fault(f"{value} has no unit", f"write {value:g}s, or {value:g}m …")
    if not isinstance(value, str):
        raise fault("expected a duration such as 30s or 5m")
    if "${{" in value:
        raise fault("a duration is fixed: it cannot hold ${{ }}")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise fault(str(error)) from None


def _size(value: Any) -> int:
    try:
        size = value if isinstance(value, int) and not isinstance(value, bool) else parse_size(str(value))
    except ValueError as error:
        raise fault(str(error)) from None
    if not 1 <= size <= MAX_BYTES:
        raise fault(f"{value} is not between 1 byte and 1MiB", "the output of a step is limited to 1 MiB")
    return size


def _condition(value: Any) -> Any:
    if isinstance(value, bool):
        return f"${{{{ {str(value).lower()} }}}}"
    if isinstance(value, str) and not _EXPRESSION.fullmatch(value):
        raise fault("a condition is one expression", f"write ${{{{ {value.strip() or 'inputs.x == 1'} }}}}")
    return value


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, dict | list):
        raise fault("expected text, a number or true/false")
    return value


def _scalars(value: Any) -> Any:
    if isinstance(value, list):
        return [_scalar(item) for item in value]
    return _scalar(value)


def _status(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value
    if isinstance(value, str) and value in _STATUS_CLASSES:
        return value
    raise fault(f"{value!r} is not a status", "write 200, or a class such as 2xx")


def _statuses(value: Any) -> Any:
    return [_status(item) for item in (value if isinstance(value, list) else [value])]


def _retryable(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return str(value)
    if isinstance(value, str) and value in RETRYABLE_CLASSES:
        return value
    meant = closest(str(value), RETRYABLE_CLASSES)
    known = f"known: {', '.join(RETRYABLE_CLASSES)}, and statuses from 400 to 599"
    raise fault(f"{value!r} is not a class of errors", f"did you mean '{meant}'?" if meant else known)


def _secret_name(value: Any) -> Any:
    if isinstance(value, str) and "${{" in value:
        raise fault("a secret is named here, not read", "write its name alone, such as secret: GH_HOOK")
    if isinstance(value, str) and not re.fullmatch(SECRET_NAME, value):
        raise fault("this is not the name of a secret", f"write it in upper case, such as GH_HOOK: {SECRET_NAME}")
    return value


_STRING = {"type": "string"}
_SCALAR_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}

WorkflowName = Annotated[
    str,
    _matches(WORKFLOW_NAME, "a workflow name: lower-case letters, digits and dashes"),
    WithJsonSchema({**_STRING, "pattern": WORKFLOW_NAME}),
]
StepId = Annotated[
    str,
    _matches(STEP_ID, "an id: lower-case letters, digits, dashes and underscores"),
    WithJsonSchema({**_STRING, "pattern": STEP_ID}),
]
SecretName = Annotated[str, BeforeValidator(_secret_name), WithJsonSchema({**_STRING, "pattern": SECRET_NAME})]
HeaderName = Annotated[str, _matches(HEADER_NAME, "a header name"), WithJsonSchema({**_STRING, "pattern": HEADER_NAME})]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({**_STRING, "pattern": DURATION_PATTERN, "examples": ["500ms", "30s", "5m", "2h", "1d"]}),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {**_STRING, "pattern": SIZE_PATTERN}]}),
]
Condition = Annotated[
    str,
    BeforeValidator(_condition),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {**_STRING, "pattern": r"^\s*\$\{\{[\s\S]*\}\}\s*$"}]}),
]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema(_SCALAR_SCHEMA)]
Scalars = Annotated[
    Any,
    BeforeValidator(_scalars),
    WithJsonSchema({"anyOf": [_SCALAR_SCHEMA, {"type": "array", "items": _SCALAR_SCHEMA}]}),
]
_STATUS_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 100, "maximum": 599}, {"enum": list(_STATUS_CLASSES)}]
}
Statuses = Annotated[
    list[Any],
    BeforeValidator(_statuses),
    WithJsonSchema({"anyOf": [_STATUS_SCHEMA, {"type": "array", "items": _STATUS_SCHEMA, "minItems": 1}]}),
]
Retryable = Annotated[
    str,
    BeforeValidator(_retryable),
    WithJsonSchema({"anyOf": [{"enum": list(RETRYABLE_CLASSES)}, {"type": "integer", "minimum": 400, "maximum": 599}]}),
]
Json = Annotated[Any, WithJsonSchema({"description": "Any JSON; strings may hold ${{ }}."})]
