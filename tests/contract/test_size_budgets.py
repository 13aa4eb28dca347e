"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import ROOT

_FILE_LINES = 450
_FUNCTION_LINES = 50
_ROOTS = ("services/taskforge", "cli/taskforge_cli", "tests", "deploy")
_GENERATED = ("services/taskforge/v1/", "services/taskforge/internal/")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def python_files() -> Iterator[Path]:
    for root in _ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            if not str(path.relative_to(ROOT)).startswith(_GENERATED):
                yield path
    yield ROOT / "proto" / "generate"


def code_lines(text: str) -> set[int]:
    """Lines that hold code: no blanks, no comments."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SILENT:
            found.update(range(token.start[0], token.end[0] + 1))
    return found


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is None:
        return set()
    return set(range(first.lineno, (first.end_lineno or first.lineno) + 1))


def long_functions(path: Path) -> Iterator[tuple[str, int]]:
    text = path.read_text(encoding="utf-8")
    code = code_lines(text)
    for function in (node for node in ast.walk(ast.parse(text)) if isinstance(node, _FUNCTIONS)):
        lines = set(range(function.lineno, (function.end_lineno or function.lineno) + 1)) & code
        size = len(lines - docstring_lines(function))
        if size > _FUNCTION_LINES:
            yield f"{path.relative_to(ROOT)}:{function.lineno} {function.name}", size


def test_no_file_is_longer_than_its_budget() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {path: lines for path, lines in sizes.items() if lines > _FILE_LINES} == {}


def test_no_function_is_longer_than_its_budget() -> None:
    assert dict(found for path in python_files() for found in long_functions(path)) == {}
