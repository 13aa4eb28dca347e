"""jq inside the worker: one JSON text in, exactly one JSON text out."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import jq

from taskforge.sandbox.requests import ProgramError

_CACHED_PROGRAMS = 256  # about 22 kB each
_SUMMARY = re.compile(r"\njq: \d+ compile errors?\Z")
_PREFIX = re.compile(r"^jq: error: ", re.MULTILINE)
# jq itself serialises the result: the binding would turn every number into a double, and 64-bit ids would change.
# The first newline ends a comment in the program's last line, the second one that a backslash has continued.
_SERIALISED = "\n\n| tojson"


def run_jq(program: str, text: str) -> str:
    """Run a program. No result, or more than one, is an error: a step has one output."""
    results = iter(_compiled(program).input_text(text))
    try:
        result = next(results, None)
        if result is None:
            raise ProgramError("the program produced nothing; `// null` gives a value for the empty case")
        if next(results, None) is not None:
            raise ProgramError("the program produced more than one value; wrap it in [ ] to get a list")
    except ValueError as error:
        raise ProgramError(_explain(str(error))) from None
    return str(result)


@lru_cache(maxsize=_CACHED_PROGRAMS)
def _compiled(program: str) -> Any:
    if "\0" in program:
        raise ProgramError("the program holds a NUL character")
    try:
        return jq.compile(program + _SERIALISED)
    except ValueError as error:
        failure = str(error)
    try:
        # The error of the program as it was written, without what was put behind it.
        jq.compile(program)
    except ValueError as error:
        failure = str(error)
    else:
        failure = "the program holds no expression"
    raise ProgramError(_explain(failure))


def _explain(message: str) -> str:
    if "error loading data file" in message or "module not found" in message:
        return "modules and data files cannot be imported here"
    if message == "break":
        return "there is no further input: a program gets exactly one"
    return _PREFIX.sub("", _SUMMARY.sub("", message))
