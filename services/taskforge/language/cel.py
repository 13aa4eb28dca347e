"""CEL: the only module that knows `cel_expr_python`. Compile once, evaluate often, errors in words.

An expression that is nothing but a path is read directly: that is most of them, it costs a tenth, and the value keeps
its identity however large it is. Everything else gets only the parts of the context that it refers to.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel as runtime
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from taskforge.domain.workflow import JsonValue
from taskforge.language.cel_ast import Reference, Usage, read_usage
from taskforge.language.cel_errors import CompileError, ExpressionError, explain_compile, explain_runtime
from taskforge.language.cel_results import to_json
from taskforge.language.paths import Path, PathError, describe, look_up, measure, parse_simple, prune

__all__ = ["NAMES", "CompileError", "Expression", "ExpressionError", "compile"]

NAMES = ("inputs", "trigger", "steps", "secrets", "run")

_MAX_CHARS = 4000
_SHOWN_CHARS = 120
_MAX_CHEAP_CHARS = 2000
_MAX_CHEAP_ADDITIONS = 16  # each may copy its text again
_CHEAP_OPERANDS = 4000  # nodes of a context that are converted on the event loop: about a millisecond
# Functions whose cost is at most linear in the size of what they are given. `replace`, `format`, `join` and the
# bindings are left out: they can multiply their input.
_CHEAP_CALLS = frozenset(
    """_&&_ _||_ !_ _?_:_ _==_ _!=_ _<_ _<=_ _>_ _>=_ _+_ _-_ _*_ _/_ _%_ -_ _[_] _[?_] _?._ @in in
    @not_strictly_false size int uint double string bool bytes type dyn timestamp duration contains startsWith endsWith
    matches getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds
    getMilliseconds charAt indexOf lastIndexOf lowerAscii upperAscii substring split trim reverse strings.quote
    base64.encode base64.decode math.@max math.@min math.greatest math.least math.abs math.ceil math.floor math.round
    math.trunc math.sign math.isNaN math.isInf math.isFinite math.sqrt optional.of optional.none optional.ofNonZeroValue
    hasValue value or orValue""".split()  # noqa: SIM905 -- a table of names
)

_ENV: Any = runtime.NewEnv(
    variables=dict.fromkeys(NAMES, runtime.Type.Map(runtime.Type.STRING, runtime.Type.DYN)),
    extensions=[
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    ],
)
_ERROR = runtime.Type.ERROR


class Expression:
    """A compiled expression. Immutable and safe to share."""

    __slots__ = ("_compiled", "_sorted_paths", "is_cheap", "path", "references", "result_type", "source")

    def __init__(self, source: str, compiled: Any, usage: Usage, *, path: Path | None, result_type: str) -> None:
        self.source = source
        self.references: tuple[Reference, ...] = tuple(usage.references)
        self.path = path  #: set if the expression is nothing but this path
        self.is_cheap = _is_cheap(source, usage)  #: may be evaluated on an event loop, if its operands are small
        self.result_type = result_type  #: `bool`, `string` …, or `dyn` when only the data can tell
        self._compiled = compiled
        self._sorted_paths = sorted({reference.path for reference in usage.references}, key=len)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    @property
    def paths(self) -> tuple[Path, ...]:
        """What it refers to, such as `("steps", "fetch", "output", "status")`."""
        return tuple(self._sorted_paths)

    def costly(self, context: Mapping[str, JsonValue]) -> bool:
        """Whether it belongs in the sandbox: by its form, or because its operands are large in this context."""
        if self.path is not None:
            return False
        return not self.is_cheap or measure(self._sorted_paths, context, _CHEAP_OPERANDS) > _CHEAP_OPERANDS

    def prune(self, context: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The part of a context that it needs: enough to evaluate it elsewhere, and to explain what is missing."""
        hints: set[Path] = {(*path[:2], "state") for path in self._sorted_paths if path[0] == "steps"}
        hints.update(("trigger", "type") for path in self._sorted_paths if path[0] == "trigger")
        return prune(sorted({*self._sorted_paths, *hints}, key=len), context)

    def evaluate(self, context: Mapping[str, JsonValue]) -> JsonValue:
        """Its value as plain JSON. Raises ExpressionError."""
        try:
            if self.path is not None:
                return look_up(self.path, context)
            return self._run(context)
        except (PathError, ExpressionError) as error:
            shown = self.source if len(self.source) <= _SHOWN_CHARS else self.source[:_SHOWN_CHARS] + "…"
            raise ExpressionError(f"${{{{ {shown} }}}}: {error}") from None

    def _run(self, context: Mapping[str, JsonValue]) -> JsonValue:
        try:
            value = self._compiled.eval(data=prune(self._sorted_paths, context))
            plain = value.plain_value()
        except RuntimeError as error:  # a budget of the runtime was exceeded
            raise ExpressionError(explain_runtime(str(error), self._sorted_paths, context)) from None
        except TypeError:  # the binding has no Python value for it
            raise ExpressionError("the result is an optional: add .orValue(null) or another default") from None
        # Errors come back as values whose plain form is their text.
        if type(plain) is str and value.type() == _ERROR:
            raise ExpressionError(explain_runtime(plain, self._sorted_paths, context))
        return to_json(plain)

    def holds(self, context: Mapping[str, JsonValue], known: Mapping[str, JsonValue] | None = None) -> bool:
        """Its value as a condition. `known` holds results that were computed elsewhere, by source."""
        value = known[self.source] if known and self.source in known else self.evaluate(context)
        if not isinstance(value, bool):
            raise ExpressionError(
                f"${{{{ {self.source} }}}}: a condition must be true or false, this is {describe(value)}"
            )
        return value


@lru_cache(maxsize=4096)
def compile(source: str) -> Expression:
    """Compile an expression. Raises CompileError."""
    if len(source) > _MAX_CHARS:
        raise CompileError(f"the expression has {len(source)} characters; {_MAX_CHARS} are allowed")
    path = parse_simple(source)
    if path is not None and path[0] in NAMES:
        usage = Usage(references=[Reference(path=path, offset=0)])
        return Expression(source, None, usage, path=path, result_type="dyn")
    try:
        compiled = _ENV.compile(source)
        usage = read_usage(compiled.serialize())
    except RuntimeError as error:
        raise explain_compile(str(error), source, NAMES) from None
    usage.references = [reference for reference in usage.references if reference.path[0] in NAMES]
    return Expression(source, compiled, usage, path=None, result_type=str(compiled.return_type().name()).lower())


def _is_cheap(source: str, usage: Usage) -> bool:
    return (
        len(source) <= _MAX_CHEAP_CHARS
        and not usage.has_comprehension
        and not usage.has_computed_pattern
        and usage.calls.count("_+_") <= _MAX_CHEAP_ADDITIONS
        and _CHEAP_CALLS.issuperset(usage.calls)
    )
