"""CEL inside the worker: the same compiler and evaluator as in the services, for expressions that may be costly."""

from __future__ import annotations

import json

from taskforge.language import cel
from taskforge.sandbox.requests import ProgramError


def run_cel(expression: str, text: str) -> str:
    """Evaluate an expression over a context that is given as JSON text."""
    try:
        # Compiled expressions are cached by the language.
        value = cel.compile(expression).evaluate(json.loads(text))
    except (cel.CompileError, cel.ExpressionError) as error:
        raise ProgramError(str(error)) from None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
