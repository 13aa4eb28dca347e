"""Colours of the terminal, by meaning. Off where nobody would see them, or does not want them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

#: Meanings and their SGR codes. Only the eight basic colours: they follow the user's own palette.
STYLES: Mapping[str, str] = {
    "plain": "",
    "strong": "1",
    "faint": "2",
    "good": "32",
    "bad": "1;31",
    "warn": "33",
    "busy": "36",
    "wait": "35",
    "link": "36",
}


@dataclass(frozen=True, slots=True)
class Paint:
    """Puts colours around text, or does nothing."""

    enabled: bool

    @classmethod
    def for_stream(cls, stream: TextIO) -> Paint:
        """Colours if the stream is a terminal; NO_COLOR, FORCE_COLOR and TERM=dumb are honoured."""
        return cls(wants_colour(os.environ, is_terminal=stream.isatty()))

    def __call__(self, text: str, style: str) -> str:
        """Put the style around the text."""
        code = STYLES[style]
        return f"\x1b[{code}m{text}\x1b[0m" if self.enabled and code and text else text


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether output should be coloured."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_terminal and environ.get("TERM", "") != "dumb"


def can_show(stream: TextIO, characters: str) -> bool:
    """Whether the stream's encoding has these characters."""
    try:
        characters.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
