"""What is wrong with a workflow file, where, and what to do about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

#: Every code with its title. Codes never change meaning.
CODES: Mapping[str, str] = {
    "TF1001": "the file is not valid YAML",
    "TF1002": "a key is written twice",
    "TF1003": "the file is too large or too deeply nested",
    "TF1004": "a part of YAML that workflows do not use",
    "TF1101": "a value has the wrong type or form",
    "TF1102": "an unknown key",
    "TF1103": "a key is missing",
    "TF1104": "a key that is not available yet",
    "TF1105": "keys that do not go together",
    "TF1106": "an id is used twice or reserved",
    "TF1201": "an expression cannot be compiled",
    "TF1202": "an expression names something that does not exist",
    "TF1203": "a step is needed or read that cannot have finished",
    "TF1204": "a secret is used where it may not be",
    "TF1205": "an expression is too costly for a trigger",
    "TF1206": "a jq program cannot be compiled",
    "TF1301": "a schedule is wrong",
    "TF1302": "an unknown time zone",
    "TF1303": "inputs do not match what the workflow declares",
    "TF1304": "an input is declared wrongly",
    "TF1901": "a value may be missing when it is read",
    "TF1902": "a setting has no effect",
}

_YAML_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Severity(StrEnum):
    """Whether a problem keeps the workflow from being used."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A place in a text. Lines and columns count from 1; `end_column` is exclusive and on the same line."""

    line: int = 1
    column: int = 1
    end_column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem. `path` names the place in the document, such as `steps[2].http.url`."""

    code: str
    message: str
    severity: Severity = Severity.ERROR
    line: int = 1
    column: int = 1
    end_column: int = 1
    hint: str = ""
    path: str = ""


def problem_at(place: Span, *, code: str, message: str, hint: str = "", path: str = "") -> Problem:
    """An error at a place."""
    return Problem(
        code=code,
        message=message,
        hint=hint,
        path=path,
        line=place.line,
        column=place.column,
        end_column=place.end_column,
    )


def render(problem: Problem, source: str, filename: str = "") -> str:
    """Show a problem with the lines around it and a marker below the place."""
    where = f"{filename}:{problem.line}:{problem.column}" if filename else f"{problem.line}:{problem.column}"
    text = [f"{problem.severity}[{problem.code}]: {problem.message}", f"  --> {where}"]
    lines = _YAML_BREAK.split(source)
    if problem.line <= len(lines):
        width = len(str(problem.line))
        if problem.line > 1:
            text.append(f"{problem.line - 1:>{width}} | {lines[problem.line - 2]}".rstrip())
        marked = lines[problem.line - 1]
        text.append(f"{problem.line:>{width}} | {marked}".rstrip())
        text.append(f"{'':>{width}} | {_marker(problem, marked)}")
    if problem.hint:
        text.append(f"  = help: {problem.hint}")
    return "\n".join(text)


def _marker(problem: Problem, line: str) -> str:
    start = min(problem.column - 1, len(line))
    length = max(1, min(problem.end_column, len(line) + 1) - problem.column)
    # Tabs are kept, so that the marker stays below its place whatever their width.
    return "".join("\t" if char == "\t" else " " for char in line[:start]) + "^" * length


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that somebody probably meant."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the closest word, or all of them when there are few."""
    words = sorted(known)
    found = closest(word, words)
    if found is not None:
        return f"did you mean '{found}'?"
    return f"known here: {', '.join(words)}" if 0 < len(words) <= 20 else ""


def format_path(path: Iterable[str | int]) -> str:
    """Write a path as people do: `steps[2].http.url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
