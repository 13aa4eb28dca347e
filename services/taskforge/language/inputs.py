"""Checks the inputs of a run against what its workflow declares, and fills in the defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import jsonschema_rs

from taskforge.domain.workflow import JsonValue, Workflow
from taskforge.language.input_schemas import build_validator, find_mismatches
from taskforge.language.problems import did_you_mean, format_path


@dataclass(frozen=True, slots=True, kw_only=True)
class InputViolation:
    """One fault of the given inputs. The message names the input."""

    name: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedInputs:
    """The complete inputs with defaults; only usable when there are no violations."""

    values: Mapping[str, JsonValue] = field(default_factory=dict)
    violations: tuple[InputViolation, ...] = ()


def check_inputs(workflow: Workflow, given: Mapping[str, JsonValue]) -> CheckedInputs:
    """Check and complete the inputs of a run."""
    declared = workflow.inputs
    violations = [
        InputViolation(
            name=name,
            message=f"workflow '{workflow.name}' has no input '{name}'",
            hint=did_you_mean(name, declared) if declared else "it takes no inputs",
        )
        for name in given
        if name not in declared
    ]
    values = {name: _value(schema, name, given) for name, schema in declared.items() if _is_there(schema, name, given)}
    violations += [
        InputViolation(name=name, message=f"the input '{name}' is missing", hint=_wanted(declared[name]))
        for name in workflow.required_inputs
        if name not in values
    ]
    if given and values:
        for mismatch in find_mismatches(_validator(_canonical(declared)), values):
            name = str(mismatch.path[0])
            inside = f" at {format_path(mismatch.path[1:])}" if len(mismatch.path) > 1 else ""
            violations.append(InputViolation(name=name, message=f"the input '{name}'{inside} {mismatch.message}"))
    return CheckedInputs(values=values, violations=tuple(violations))


def _is_there(schema: Mapping[str, JsonValue], name: str, given: Mapping[str, JsonValue]) -> bool:
    return name in given or "default" in schema


def _value(schema: Mapping[str, JsonValue], name: str, given: Mapping[str, JsonValue]) -> JsonValue:
    # A copy: the definition is shared by all runs.
    return given[name] if name in given else copy.deepcopy(schema["default"])


def _wanted(schema: Mapping[str, JsonValue]) -> str:
    wanted = schema.get("description") or schema.get("title") or schema.get("type")
    return f"it is: {wanted}" if isinstance(wanted, str) else ""


def _canonical(schemas: Mapping[str, JsonValue]) -> str:
    return json.dumps(schemas, sort_keys=True, ensure_ascii=False)


@lru_cache(maxsize=512)
def _validator(schemas: str) -> jsonschema_rs.Draft202012Validator:
    return build_validator(json.loads(schemas))
