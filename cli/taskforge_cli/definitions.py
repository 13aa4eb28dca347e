"""Workflow files of this machine: found, read, and checked offline with the language that the server uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import CliError
from taskforge_cli.paint import Paint
from taskforge_cli.session import read_text

if TYPE_CHECKING:
    from taskforge.language.parse import Parsed
    from taskforge.language.problems import Problem

_SUFFIXES = (".yaml", ".yml")
_TESTS = (".test.yaml", ".test.yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One file, checked."""

    filename: str
    source: str
    parsed: Parsed

    @property
    def name(self) -> str:
        """The workflow's name; empty if the file has errors."""
        return self.parsed.workflow.name if self.parsed.workflow else ""

    def as_dict(self) -> dict[str, Any]:
        """The file as `validate -o json` shows it."""
        return {
            "filename": self.filename,
            "workflow": self.name or None,
            "valid": self.parsed.workflow is not None,
            "problems": [problem_dict(problem) for problem in self.parsed.problems],
        }


def find_files(paths: Sequence[str]) -> list[str]:
    """The files that the paths name: folders are searched, tests and hidden folders left out.

    Raises:
        CliError: FILE_UNREADABLE or NO_WORKFLOW_FILES.
    """
    found: dict[str, None] = {}
    for text in paths:
        path = Path(text)
        if text == "-" or path.is_file():
            found[text] = None
        elif path.is_dir():
            found |= dict.fromkeys(_inside(path))
        else:
            raise CliError("FILE_UNREADABLE", f"{text}: there is no such file or folder")
    if not found:
        raise CliError("NO_WORKFLOW_FILES", f"no *.yaml file in {', '.join(paths)}")
    return list(found)


def read_definitions(paths: Sequence[str]) -> list[Definition]:
    """Read and check every file.

    Raises:
        CliError: a file cannot be read. Faults in what it holds are in the result.
    """
    from taskforge.language.parse import parse_workflow

    found = []
    for filename in find_files(paths):
        source = read_text(filename)
        shown = "stdin" if filename == "-" else filename
        found.append(Definition(filename=shown, source=source, parsed=parse_workflow(source, filename=shown)))
    return found


def require_valid(definitions: Sequence[Definition]) -> None:
    """Refuse files with errors: all of them, all at once.

    Raises:
        CliError: of the first error's code, with everything there is to say.
    """
    errors = [(definition, problem) for definition in definitions for problem in definition.parsed.errors]
    if errors:
        raise _invalid(definitions, errors[0][1].code, len(errors))
    by_name: dict[str, str] = {}
    for definition in definitions:
        other = by_name.setdefault(definition.name, definition.filename)
        if other != definition.filename:
            message = f"{other} and {definition.filename} both define the workflow {definition.name!r}"
            raise CliError("TF1106", message, hints=["give one of them another name"], exit_code=ExitCode.INVALID)


def rendered(definition: Definition, problem: Problem, paint: Paint) -> str:
    """A problem with the lines around it, coloured."""
    from taskforge.language.problems import Severity, render

    style = "bad" if problem.severity is Severity.ERROR else "warn"
    head, *rest = render(problem, definition.source, definition.filename).splitlines()
    title, colon, message = head.partition(": ")
    lines = [f"{paint(title, style)}{colon}{message}"]
    for line in rest:
        bar = line.partition("|")
        if bar[1] and set(bar[2].strip()) == {"^"}:
            lines.append(f"{paint(bar[0] + '|', 'faint')}{paint(bar[2], style)}")
        else:
            lines.append(paint(line, "faint") if line.startswith("  --> ") else line)
    return "\n".join(lines)


def problem_dict(problem: Problem) -> dict[str, Any]:
    """A problem as JSON shows it."""
    return {
        "code": problem.code,
        "severity": problem.severity.value,
        "message": problem.message,
        "line": problem.line,
        "column": problem.column,
        "end_column": problem.end_column,
        "path": problem.path,
        "hint": problem.hint,
    }


def _invalid(definitions: Sequence[Definition], code: str, count: int) -> CliError:
    paint = Paint.for_stream(sys.stderr)
    shown = [rendered(found, problem, paint) for found in definitions for problem in found.parsed.problems]
    faulty = sum(1 for definition in definitions if definition.parsed.errors)
    files = f"{faulty} of {len(definitions)} files" if len(definitions) > 1 else definitions[0].filename
    message = f"{count} error{'s' if count > 1 else ''} in {files}"
    details = [
        {"filename": definition.filename, **problem_dict(problem)}
        for definition in definitions
        for problem in definition.parsed.problems
    ]
    hints = [f"explain a code: taskforge help {code}"]
    body = "\n\n".join([*shown, message])
    return CliError(code, message, hints=hints, exit_code=ExitCode.INVALID, details=details, body=body)


def _inside(folder: Path) -> list[str]:
    files = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix in _SUFFIXES and not path.name.endswith(_TESTS) and path.is_file():
            files.append(str(path))
    return files
