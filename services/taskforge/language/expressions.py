"""Finds `${{ }}` in text: a scanner that knows strings, braces and comments: `${{ {"a": {"b": 1}} }}` ends well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

OPEN = "${{"

# What can stand between an opening and its end: strings of every kind, comments, braces, anything else.
_TOKEN = re.compile(
    r"""
    (?P<raw>[bB]?[rR][bB]?(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*"))
  | (?P<string>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
  | (?P<field>`[^`\n]*`)
  | (?P<comment>//(?:(?!\}\})[^\n])*)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<open>\{)
  | (?P<close>\})
  | (?P<quote>['"])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a template: literal text, or the source of an expression and its offset in the text."""

    text: str
    is_code: bool = False
    offset: int = 0


class ScanError(Exception):
    """A `${{` that is not closed."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@lru_cache(maxsize=8192)
def split_template(text: str) -> tuple[Part, ...]:
    """Split a string into literal parts and expressions. Text without `${{` is one literal."""
    parts: list[Part] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        if start > position:
            parts.append(Part(text=text[position:start], offset=position))
        code_start = start + len(OPEN)
        end = _find_end(text, start)
        code = text[code_start:end]
        leading = len(code) - len(code.lstrip())
        if not code.strip():
            raise ScanError("the expression is empty", start)
        parts.append(Part(text=code.strip(), is_code=True, offset=code_start + leading))
        position = end + 2
    if position < len(text) or not parts:
        parts.append(Part(text=text[position:], offset=position))
    return tuple(parts)


def _find_end(text: str, start: int) -> int:
    """The offset of the `}}` that closes the expression opened at `start`."""
    depth = 0
    position = start + len(OPEN)
    while (token := _TOKEN.match(text, position)) is not None:
        kind = token.lastgroup
        if kind == "open":
            depth += 1
        elif kind == "close":
            if depth == 0 and text.startswith("}}", position):
                return position
            if depth == 0:
                raise ScanError("a } stands alone: the expression ends with }}", position)
            depth -= 1
        elif kind == "quote":
            raise ScanError("a string in the expression is not closed", position)
        position = token.end()
    raise ScanError("the expression is not closed with }}", start)
