"""Inputs of a run from the command line: `-i name=value`, read by the type that the workflow declares."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from taskforge_cli.errors import CliError
from taskforge_cli.session import read_text

_EXACT_LIMIT = 2**53
_EXAMPLES = {"integer": "3", "number": "2.5", "boolean": "true", "object": "'{\"a\": 1}'", "array": "'[1, 2]'"}


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` texts.

    Raises:
        CliError: INPUT_SYNTAX.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise CliError(
                "INPUT_SYNTAX", f"{option} {text}: there is no NAME=VALUE", hints=[f"write {option} name=value"]
            )
        if name.strip() in found:
            raise CliError("INPUT_SYNTAX", f"{option} {name.strip()} is given twice")
        found[name.strip()] = value
    return found


def read_input_file(path: str) -> dict[str, Any]:
    """Inputs from a JSON or YAML file; `-` is standard input.

    Raises:
        CliError: FILE_UNREADABLE or INPUT_SYNTAX.
    """
    import yaml

    text = read_text(path)
    try:
        # JSON first: YAML reads 1e3 as a text.
        value = _json_or_none(text)
        value = yaml.safe_load(text) if value is None else value
    except yaml.YAMLError as error:
        raise CliError("INPUT_SYNTAX", f"--input-file {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(value, dict):
        hints = ["write one JSON or YAML object: names and values"]
        raise CliError("INPUT_SYNTAX", f"--input-file {path}: the file holds no object", hints=hints)
    found: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return found


def typed_inputs(given: Mapping[str, str], declared: Mapping[str, Any], workflow: str) -> dict[str, Any]:
    """Values of the declared types: a string stays as it is, everything else is JSON.

    Raises:
        CliError: INPUT_UNKNOWN, or INPUT_SYNTAX.
    """
    return {name: _typed(name, text, _types(name, declared, workflow)) for name, text in given.items()}


def check_exact(value: Any, name: str) -> None:
    """Refuse whole numbers that the API cannot carry without changing them.

    Raises:
        CliError: INPUT_SYNTAX.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT_LIMIT:
        hints = ["declare the input as a string"]
        raise CliError("INPUT_SYNTAX", f"input {name}: {value} is too large to arrive unchanged", hints=hints)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_exact(item, name)


def _types(name: str, declared: Mapping[str, Any], workflow: str) -> frozenset[str]:
    if name not in declared:
        close = difflib.get_close_matches(name, declared, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"it takes: {', '.join(sorted(declared)) or 'no inputs'}"
        hints = [meant, f"see taskforge workflow show {workflow}"]
        raise CliError("INPUT_UNKNOWN", f"workflow {workflow} has no input {name!r}", hints=hints)
    schema = declared[name]
    types = schema.get("type", []) if isinstance(schema, dict) else []
    return frozenset([types] if isinstance(types, str) else types)


def _typed(name: str, text: str, types: frozenset[str]) -> Any:
    if "string" in types:
        return text
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        if not types:
            return text
        kind = " or ".join(sorted(types))
        example = next((_EXAMPLES[known] for known in _EXAMPLES if known in types), "null")
        article = "an" if kind[0] in "aeiou" else "a"
        hints = [f"write it as JSON: -i {name}={example}"]
        raise CliError("INPUT_SYNTAX", f"input {name} is {article} {kind}, and {text!r} is none", hints=hints) from None


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
