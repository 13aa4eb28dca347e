"""The published JSON Schema of workflow files, made from the models."""

from __future__ import annotations

from typing import Any

from taskforge.language.document_fields import PART, Document
from taskforge.language.document_steps import ACTIONS, Branch, FailAction, LogAction, StepDocument
from taskforge.language.document_workflow import TriggerDocument, WorkflowDocument
from taskforge.language.input_schemas import KEYWORDS
from taskforge.language.units import DURATION_PATTERN, format_duration

_TYPES = ["string", "number", "integer", "boolean", "array", "object", "null"]
_PARTS: tuple[type[Document], ...] = (StepDocument, Branch, LogAction, FailAction, TriggerDocument)


def workflow_json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a workflow file, for editors and other tools."""
    schema = _schema_of(WorkflowDocument)
    definitions: dict[str, Any] = schema.pop("$defs", {})
    for part in _PARTS:
        found = _schema_of(part)
        definitions |= found.pop("$defs", {})
        definitions[part.__name__] = found
    definitions["Input"] = _input_schema()
    _require_one(definitions["StepDocument"], ACTIONS)
    _require_one(definitions["TriggerDocument"], ("cron", "every", "webhook"))
    _require_one(definitions["Branch"], ("if", "else"))
    _require_one(definitions["Auth"], ("basic", "bearer"))
    _require_one(definitions["TransformAction"], ("value", "jq"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema_of(model: type[Document]) -> dict[str, Any]:
    schema: dict[str, Any] = _without_noise(model.model_json_schema(by_alias=True))
    schema["title"] = model.model_config.get("title") or model.__name__
    return schema


def _without_noise(schema: Any) -> Any:
    """Drop the titles that repeat a key, and the nulls that only say that a key may be left out."""
    if isinstance(schema, list):
        return [_without_noise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if PART in schema:
        return {"$ref": f"#/$defs/{schema[PART]}"}
    cleaned = {}
    for key, value in schema.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value is None):
            continue
        cleaned[key] = {name: _property(inner) for name, inner in value.items()} if key == "properties" else value
    return {key: value if key == "properties" else _without_noise(value) for key, value in cleaned.items()}


def _property(schema: Any) -> Any:
    schema = _without_noise(schema)
    if schema.get("pattern") == DURATION_PATTERN and isinstance(schema.get("default"), float):
        schema["default"] = format_duration(schema["default"])
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if "anyOf" in schema and len(options) < len(schema["anyOf"]):
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**options[0], **rest} if len(options) == 1 else {"anyOf": options, **rest}
    return schema


def _require_one(schema: dict[str, Any], keys: tuple[str, ...]) -> None:
    schema["oneOf"] = [{"required": [key]} for key in keys]


def _input_schema() -> dict[str, Any]:
    """A declared input: a JSON Schema of its own, with `required: true|false` beside it."""
    return {
        "title": "Input",
        "description": "JSON Schema of one input; `required: false` makes it optional.",
        "type": "object",
        "propertyNames": {"anyOf": [{"enum": sorted(KEYWORDS)}, {"pattern": "^x-"}]},
        "properties": {
            "required": {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]},
            "type": {"anyOf": [{"enum": _TYPES}, {"type": "array", "items": {"enum": _TYPES}}]},
            "description": {"type": "string"},
        },
    }
