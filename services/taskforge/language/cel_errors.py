"""CEL's messages in words that help the author of a workflow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from taskforge.domain.workflow import JsonValue
from taskforge.language.paths import Path, find_missing
from taskforge.language.problems import closest, did_you_mean

LATER_NAMES = frozenset({"vars", "item", "index"})

FUNCTIONS = frozenset(
    """size has string int uint double bool bytes type dyn timestamp duration contains startsWith endsWith matches all
    exists exists_one map filter split join trim replace lowerAscii upperAscii substring indexOf lastIndexOf charAt
    format reverse getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds
    getMilliseconds orValue hasValue optMap base64.encode base64.decode math.greatest math.least math.ceil math.floor
    math.round math.abs cel.bind""".split()  # noqa: SIM905 -- a table of names
)
_OTHER_LANGUAGES = {
    "len": "size(…)",
    "length": "size(…)",
    "lower": "x.lowerAscii()",
    "upper": "x.upperAscii()",
    "toLowerCase": "x.lowerAscii()",
    "toUpperCase": "x.upperAscii()",
    "includes": "x.contains(…)",
    "str": "string(…)",
    "float": "double(…)",
    "toJSON": "text with ${{ }} in it: objects become JSON there",
    "now": "run.created_at: expressions see no clock",
    "None": "null",
    "nil": "null",
    "undefined": "null",
    "True": "true",
    "False": "false",
    "and": "&&",
    "or": "||",
    "not": "!",
    "env": "inputs or secrets: workflows see no environment variables",
    "github": "trigger, run and inputs",
    "needs": "steps.NAME.output",
}
_TYPES = {
    "int64": "int",
    "uint64": "uint",
    "null_type": "null",
    "bool": "bool",
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
}
_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"no matching overload for '([^']*)' applied to '(.*?)'(?: \[|$)")
_RUNTIME_OVERLOAD = re.compile(r"No matching overloads found : (\S+?)(?:\((.*)\))?$")
_MEMBER_OVERLOAD = re.compile(r"No matching overloads found : \((\S+?)\)\.(\w+)\((.*)\)$")
_MISSING_KEY = re.compile(r'Key not found in map : "?(.*?)"?$', re.DOTALL)
_INDEX = re.compile(r"Index error: index=(-?\d+) size=(\d+)")
_INPUT = re.compile(r"(?:mismatched|extraneous) input '(.*?)' expecting|no viable alternative at input '(.*?)'")
_TOKEN = re.compile(r"token recognition error at: '(.*)'")


class ExpressionError(Exception):
    """An expression failed while it ran. The message is complete."""


class CompileError(Exception):
    """An expression cannot be compiled. `offset` and `length` say where in its source."""

    def __init__(self, message: str, *, offset: int = 0, length: int = 1, hint: str = "", code: str = "TF1201") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.length = length
        self.hint = hint
        self.code = code


# --- compile time ---------------------------------------------------------------------------------


def explain_compile(error: str, source: str, names: Sequence[str]) -> CompileError:
    """Turn the runtime's compile error into one of ours."""
    if "recursion" in error:
        return CompileError("the expression is nested too deeply", length=len(source), hint="split it into two steps")
    found = _PLACE.search(error)
    if found is None:
        return CompileError(error.split("\n")[0], length=len(source))
    offset = _offset(source, int(found.group(1)), int(found.group(2)))
    detail = found.group(3)
    undeclared = _UNDECLARED.search(detail)
    if undeclared is not None:
        return _unknown_name(undeclared.group(1), source, offset, names)
    overload = _OVERLOAD.search(detail)
    if overload is not None:
        return CompileError(_bad_operands(overload.group(1), overload.group(2)), offset=offset, length=1)
    return _syntax(detail, source, offset)


def _offset(source: str, line: int, column: int) -> int:
    lines = source.split("\n")
    before = sum(len(text) + 1 for text in lines[: max(line, 1) - 1])
    return max(0, min(before + max(column, 1) - 1, len(source)))


def _unknown_name(name: str, source: str, offset: int, names: Sequence[str]) -> CompileError:
    root = name.split(".")[0]
    at = re.search(rf"(?<![\w.]){re.escape(root)}(?!\w)", source) or re.search(
        rf"(?<!\w){re.escape(root)}(?!\w)", source
    )
    start = at.start() if at else offset
    is_call = re.match(rf"{re.escape(name)}\s*\(", source[start:]) is not None
    dashed = re.search(rf"([A-Za-z_][\w.]*)\.(\w+)-{re.escape(root)}(?!\w)", source)
    code = "TF1202"
    if dashed is not None and not is_call:
        message = f"unknown name '{root}'"
        hint = f"a name with a dash goes in brackets: {dashed.group(1)}['{dashed.group(2)}-{root}']"
    elif root in LATER_NAMES:
        message, hint, code = f"'{root}' is not available yet", "", "TF1104"
    elif root in _OTHER_LANGUAGES:
        message, hint = f"unknown {'function' if is_call else 'name'} '{root}'", f"write {_OTHER_LANGUAGES[root]}"
    elif is_call:
        meant = closest(name, FUNCTIONS)
        message, hint = f"unknown function '{name}'", f"did you mean '{meant}'?" if meant else ""
    else:
        message, hint = f"unknown name '{root}'", did_you_mean(root, names)
    return CompileError(message, offset=start, length=len(root), hint=hint, code=code)


def _syntax(detail: str, source: str, offset: int) -> CompileError:
    detail = detail.removeprefix("Syntax error: ").removesuffix(" [INVALID_ARGUMENT]")
    found = _INPUT.search(detail)
    unexpected = next((group for group in found.groups() if group), "") if found else ""
    unread = _TOKEN.search(detail)
    before = re.search(r"(\w+)\s*$", source[:offset])
    hint = ""
    if unexpected == "<EOF>":
        return CompileError("the expression ends too early", offset=max(0, len(source) - 1), length=1)
    if unread is not None:
        message, hint = _unreadable(unread.group(1))
    elif unexpected:
        message = f"unexpected '{unexpected}'"
        word = before.group(1) if before and before.group(1) == "not" else unexpected
        hint = f"write {_OTHER_LANGUAGES[word]}" if word in _OTHER_LANGUAGES else ""
        if not hint and source[:offset].endswith("["):
            hint = "CEL has no wildcard; use .map(x, x.name) or a jq transform"
    else:
        message = detail
    return CompileError(message, offset=offset, length=max(1, len(unexpected)), hint=hint)


def _unreadable(text: str) -> tuple[str, str]:
    if text[:1] in ("'", '"'):
        return "a string is not closed", ""
    if text[:1] == "=":
        return "unexpected '='", "compare with =="
    if text[:1] == "|":
        return "unexpected '|'", "CEL has no filters: call a function, or use || for 'or'"
    return f"unexpected '{text.strip()[:10]}'", ""


# --- run time -------------------------------------------------------------------------------------


def explain_runtime(error: str, paths: Sequence[Path], context: Mapping[str, JsonValue]) -> str:
    """Turn the runtime's error into a message that names the data and the way out."""
    missing = _MISSING_KEY.search(error)
    if missing is not None:
        return find_missing(paths, context, missing.group(1)) or f"no key '{missing.group(1)}'"
    if "SELECT to non-message" in error or "No value with name" in error or "Invalid container type" in error:
        found = find_missing(paths, context)
        return found or "a field is read from something that is not an object"
    member = _MEMBER_OVERLOAD.search(error)
    if member is not None:
        return _bad_operands(member.group(2), f"({member.group(1)}, {member.group(3)})".replace(", )", ")"))
    overload = _RUNTIME_OVERLOAD.search(error)
    if overload is not None:
        return _bad_operands(overload.group(1), f"({overload.group(2) or ''})")
    too_large = re.search(r"Integer value '(\d+)' out of range", error)
    if too_large is not None:
        return f"the integer {too_large.group(1)} does not fit into 64 bits"
    index = _INDEX.search(error)
    if index is not None:
        return f"no item [{index.group(1)}]: the list has {index.group(2)}"
    if "iteration" in error.lower() or "budget" in error.lower():
        return "the expression loops over too many items (10,000 in all); use a jq transform"
    return error.split(": ", 1)[-1].removesuffix("]").split(" [")[0]


def _bad_operands(function: str, types: str) -> str:
    names = [_TYPES.get(name.strip(), name.strip()) for name in types.strip("()").split(",") if name.strip()]
    if function == "<jump_condition>" or function == "_?_:_":
        if function == "_?_:_" and len(names) == 3:
            return f"both results of ? : must have one type, not {names[1]} and {names[2]}; wrap one in dyn(…)"
        return "the condition before ? must be true or false"
    operator = function.replace("_", "").replace("@", "")
    if function in ("_&&_", "_||_", "!_"):
        return f"{operator} needs true or false on each side; compare with == or use has(…)"
    if function == "@in":
        return "in needs a list or an object on its right; for text write x.contains(…)"
    hint = ""
    if set(names) == {"int", "double"}:
        hint = f"; write double(…) around the int to use {operator}"
    elif function == "_+_" and "string" in names:
        hint = "; write string(…) around the other one"
    elif "string" in names and set(names) & {"int", "double"} and function[:1] == "_":
        hint = "; convert the text with int(…) or double(…)"
    shown = " and ".join(names) or "these values"
    return f"{operator} does not work on {shown}{hint}"
