"""The `inputs` of a document: what a workflow declares, checked as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import jsonschema_rs

from taskforge.domain.workflow import JsonValue
from taskforge.language.document_fields import INPUT_NAME
from taskforge.language.expressions import OPEN
from taskforge.language.input_schemas import Mismatch, build_validator, check_schema, find_mismatches
from taskforge.language.problems import Problem, did_you_mean, format_path, problem_at
from taskforge.language.yaml_tree import Path, Tree


@dataclass(slots=True)
class DeclaredInputs:
    """Every declared input: its schema, and whether a run must be given it."""

    schemas: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    maybe_missing: list[str] = field(default_factory=list)  #: no default, and need not be given


def read_inputs(tree: Tree, problems: list[Problem]) -> DeclaredInputs:
    """Read and check the declarations."""
    declared = DeclaredInputs()
    raw = tree.value.get("inputs")
    if not isinstance(raw, dict):
        return declared  # not an object: the document's own check has said so
    for name, value in raw.items():
        path: Path = ("inputs", name)
        if not re.fullmatch(INPUT_NAME, name):
            _report(
                tree, problems, path, f"'{name}' is not a name of an input", f"it must match {INPUT_NAME}", key=True
            )
        elif not isinstance(value, dict):
            hint = f"write {name}: {{type: {value}}}" if isinstance(value, str) else f"write {name}: {{type: string}}"
            _report(tree, problems, path, "an input is described by a JSON Schema", hint)
        else:
            _read_input(name, dict(value), declared, tree, problems)
    return declared


def _read_input(
    name: str, schema: dict[str, JsonValue], declared: DeclaredInputs, tree: Tree, problems: list[Problem]
) -> None:
    required = schema.get("required")
    if isinstance(required, bool):
        del schema["required"]
    elif isinstance(required, str):
        _report(tree, problems, ("inputs", name, "required"), "expected true or false")
        del schema["required"]
    if _check_declaration(name, schema, tree, problems):
        declared.schemas[name] = schema
    else:
        declared.schemas[name] = {}  # known by name, so that nothing else complains about it
    if "default" not in schema:
        (declared.maybe_missing if required is False else declared.required).append(name)


def _check_declaration(name: str, schema: dict[str, JsonValue], tree: Tree, problems: list[Problem]) -> bool:
    path: Path = ("inputs", name)
    faults = check_schema(schema)
    for found in faults:
        _report(tree, problems, (*path, *found.path), found.message, found.hint, key=True)
    if faults:
        return False
    try:
        validator = build_validator({name: schema})
    except jsonschema_rs.ValidationError as error:
        place = tuple(error.instance_path)[2:]  # without `properties` and the name
        known = ("string", "number", "integer", "boolean", "array", "object", "null")
        is_type = place[-1:] == ("type",) and isinstance(error.instance, str)
        message = f"'{error.instance}' is not a type" if is_type else error.message
        _report(tree, problems, (*path, *place), message, did_you_mean(str(error.instance), known) if is_type else "")
        return False
    if "default" in schema:
        if OPEN in str(schema["default"]):
            _report(tree, problems, (*path, "default"), "a default is fixed: it cannot hold ${{ }}")
            return False
        for mismatch in find_mismatches(validator, {name: schema["default"]}):
            _report(tree, problems, (*path, "default", *mismatch.path[1:]), f"the default {mismatch.message}")
            return False
    return True


def check_given(
    given: Mapping[str, JsonValue], declared: DeclaredInputs, path: Path, tree: Tree, problems: list[Problem]
) -> None:
    """Check what a trigger gives: names, what is missing, and the values that are fixed."""
    for name in given:
        if name not in declared.schemas:
            hint = did_you_mean(name, declared.schemas) if declared.schemas else "the workflow takes no inputs"
            _report(tree, problems, (*path, name), f"no input '{name}'", hint, key=True, code="TF1303")
    missing = [name for name in declared.required if name not in given]
    if missing:
        names = ", ".join(missing)
        hint = "give them here, or give them a default"
        _report(tree, problems, path, f"the trigger gives no value for: {names}", hint, key=True, code="TF1303")
    fixed = {name: value for name, value in given.items() if name in declared.schemas and OPEN not in str(value)}
    for mismatch in _mismatches(fixed, declared):
        message = f"the input '{mismatch.path[0]}' {mismatch.message}"
        _report(tree, problems, (*path, *mismatch.path), message, code="TF1303")


def _mismatches(values: Mapping[str, JsonValue], declared: DeclaredInputs) -> list[Mismatch]:
    return find_mismatches(build_validator(declared.schemas), values) if values else []


def _report(
    tree: Tree,
    problems: list[Problem],
    path: Path,
    message: str,
    hint: str = "",
    *,
    key: bool = False,
    code: str = "TF1304",
) -> None:
    place = tree.span(path, key=key)
    problems.append(problem_at(place, code=code, message=message, hint=hint, path=format_path(path)))
