"""Checks jq programs when a workflow is applied. Compiles, never runs: running is the sandbox's work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import jq

MAX_CHARS = 4096  #: jq's compiler is quadratic in places: 0.2 s for the worst program of this length, 3 s for 16 KiB
MAX_TOTAL_CHARS = 64 * 1024  #: of all programs of a workflow

_LEADING = re.compile(r"(?:\s|#[^\r\n]*[\r\n])*(module|import|include)\b")
_MESSAGE = re.compile(r"jq: error: (.*?) at <top-level>, line (\d+), column (\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class JqFault:
    """Why a program is refused. `line` and `column` count from 1 within the program."""

    message: str
    line: int = 1
    column: int = 1
    hint: str = ""


@lru_cache(maxsize=1024)
def check_jq(program: str) -> JqFault | None:
    """Compile a program and say what is wrong with it, or None."""
    if len(program) > MAX_CHARS:
        return JqFault(message=f"the program has {len(program)} characters; {MAX_CHARS} are allowed")
    if "\0" in program or not _is_text(program):
        return JqFault(message="the program holds characters that are not text")
    if not program.strip():
        return JqFault(message="the program is empty")
    if (found := _LEADING.match(program)) is not None:
        return JqFault(message=f"'{found.group(1)}' is not supported: a program has no files beside it")
    if "$ENV" in program:
        return JqFault(message="$ENV is empty: programs see no environment", hint="pass what is needed by `input:`")
    try:
        # jq folds constants while it compiles, and "a" * 1e9 would fill the memory of this process. As a
        # subtraction it has the same syntax and no result.
        jq.compile(program.replace("*", "-"))
    except ValueError as error:
        return _explain(str(error), program)
    return None


def _is_text(program: str) -> bool:
    try:
        program.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explain(error: str, program: str) -> JqFault:
    found = _MESSAGE.search(error)
    if found is None:
        return JqFault(message=error.removeprefix("jq: error: ").split("\n")[0])
    line, column = int(found.group(2)), int(found.group(3))
    message = found.group(1).strip()
    hint = ""
    if message.endswith("is not defined") and message.startswith("$"):
        hint = "programs see only their input: pass values by `input:`"
    if "${{" in program:
        hint = "a program holds no ${{ }}: pass values by `input:`"
    return JqFault(message=message, line=line, column=column, hint=hint)
