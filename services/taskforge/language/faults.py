"""pydantic's errors as problems: where in the file, in plain words, with a suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from taskforge.language.paths import describe
from taskforge.language.problems import Problem, closest, did_you_mean, format_path, problem_at
from taskforge.language.yaml_tree import Path, Tree

#: Keys of the language that this version does not know yet.
LATER_KEYS = frozenset(
    """concurrency foreach wait approve workflow shell container python on_failure finally queue vars manual event
    catchup_window catchup jitter dst pause_on_failure exclude respond paginate file""".split()  # noqa: SIM905 -- a table of names
)

Model = TypeVar("Model", bound=BaseModel)

_KEY_MARKER = "[key]"
_OTHER_WORDS = {
    "run": "http, transform, log … (shell steps are not available yet)",
    "uses": "http, transform, log …",
    "with": "the keys below the action, such as http: {url: …}",
    "when": "if",
    "depends_on": "needs",
    "schedule": "cron",
    "on": "triggers",
    "jobs": "steps",
    "env": "inputs",
    "continue-on-error": "on_error: continue",
    "timeout-minutes": "timeout: 10m",
    "schema": "the input's schema beside its name",
}


def read_part(model: type[Model], value: Any, path: Path, tree: Tree, problems: list[Problem]) -> Model | None:
    """Validate one part of a document; what is wrong with it is appended to `problems`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems.extend(_problem(details, model, path, tree) for details in error.errors(include_url=False))
        return None


def _problem(details: ErrorDetails, model: type[BaseModel], base: Path, tree: Tree) -> Problem:
    location = tuple(part for part in details["loc"] if part != _KEY_MARKER)
    path = (*base, *location)
    on_key = _KEY_MARKER in details["loc"]
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(model, location, path, tree)
    if kind == "missing":
        name = str(path[-1])
        place = tree.span(path[:-1], key=len(path) > 1)
        return problem_at(place, code="TF1103", message=f"the key '{name}' is missing", path=format_path(path))
    code, message, hint = _describe(details)
    return problem_at(tree.span(path, key=on_key), code=code, message=message, hint=hint, path=format_path(path))


def _unknown_key(model: type[BaseModel], location: Path, path: Path, tree: Tree) -> Problem:
    name = str(path[-1])
    known = _keys_at(model, location[:-1])
    code, message, hint = "TF1102", f"unknown key '{name}'", ""
    if name in LATER_KEYS and closest(name, known) != name:
        code, message = "TF1104", f"'{name}' is not available yet"
    elif name in _OTHER_WORDS and name not in known:
        hint = f"write {_OTHER_WORDS[name]}"
    else:
        hint = did_you_mean(name, known)
    return problem_at(tree.span(path, key=True), code=code, message=message, hint=hint, path=format_path(path))


def _keys_at(model: type[BaseModel], location: Path) -> list[str]:
    """The keys that the model allows at a place within it."""
    current: Any = model
    for part in location:
        if not isinstance(part, str):
            continue
        field = _fields(current).get(part)
        current = _model_in(field) if field is not None else None
        if current is None:
            return []
    return list(_fields(current))


def _fields(model: type[BaseModel]) -> Mapping[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is not None:
        return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
    return None


def _describe(details: ErrorDetails) -> tuple[str, str, str]:
    """The code, message and hint of an error about a value."""
    context: Mapping[str, Any] = details.get("ctx", {})
    given = details["input"]
    match details["type"]:
        case "taskforge":
            return str(context["code"]), str(context["message"]), str(context["hint"])
        case "string_type":
            quotable = isinstance(given, bool | int | float)
            return "TF1101", f"expected text, not {describe(given)}", f'quote it: "{given}"' if quotable else ""
        case "literal_error":
            choices = [choice.strip("' ") for choice in str(context["expected"]).replace(" or ", ",").split(",")]
            meant = _closest_choice(str(given), choices)
            shown = f"'{given}'" if isinstance(given, str) else describe(given)
            hint = f"did you mean '{meant}'?" if meant else f"one of: {', '.join(choices)}"
            return "TF1101", f"{shown} is not possible here", hint
        case "none_required":
            return "TF1101", "this key takes no value", "write what follows beside it, one key per line"
        case "too_short":
            return "TF1101", "this list must not be empty", ""
        case kind:
            expected = _EXPECTED.get(kind)
            if expected is not None:
                return "TF1101", f"expected {expected}, not {describe(given)}", ""
            return "TF1101", details["msg"].lower().replace("input should be", "this must be"), ""


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object with keys",
    "model_type": "an object with keys",
    "model_attributes_type": "an object with keys",
}


def _closest_choice(given: str, choices: list[str]) -> str | None:
    by_lower = {choice.lower(): choice for choice in choices}
    meant = closest(given, by_lower)
    return by_lower[meant] if meant else None
