"""Makes bad text and bytes out of good ones, the same for the same source of chance."""

from __future__ import annotations

import random
from collections.abc import Sequence

_HUGE = 3_000
_NASTY = (
    "\0",
    "\ufeff",
    "\u2028",
    "\U0001f4a9",
    "\u0660",
    "\uff11",
    "\x1b[31m",
    "\t",
    "\r\n",
    "'",
    '"',
    "\\",
    "${{",
    "}}",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ":",
    "&a ",
    "*a",
    "<<: ",
    "!!python/object:os.system ",
    "|",
    ">",
    "---\n",
    "# ",
    "null",
    "true",
    "~",
    "-1",
    "0",
    "1e400",
    "0x7fffffffffffffff",
    "99999999999999999999999999",
    "NaN",
    "../",
    "%2e%2e%2f",
    "%00",
    "%ff",
    ";",
    "//",
    "?",
    "*",
    "/",
    "-",
    ",",
    ".",
)


class Mutator:
    """Changes what it is given in a few places. `words` are put in now and then: what the reader understands."""

    def __init__(self, rng: random.Random, words: Sequence[str] = ()) -> None:
        self._rng = rng
        self._words = (*_NASTY, *words)

    def text(self, good: str) -> str:
        """A text that was good once; it has no lone surrogates, as nothing has that was decoded."""
        for _ in range(self._rng.choice((1, 1, 2, 3, 8))):
            good = self._rng.choice(_CHANGES)(self, good)
        return good

    def data(self, good: bytes) -> bytes:
        """Bytes that were good once."""
        data = bytearray(good)
        for _ in range(self._rng.choice((1, 2, 3, 8))):
            place = self._rng.randint(0, len(data))
            kind = self._rng.randrange(4)
            if kind == 0 and place < len(data):
                data[place] ^= 1 << self._rng.randrange(8)
            elif kind == 1:
                data[place:place] = self._rng.randbytes(self._rng.choice((1, 4, 64)))
            elif kind == 2:
                del data[place : place + self._rng.choice((1, 4, 64))]
            else:
                data = data[:place]
        return bytes(data)

    def _insert(self, text: str) -> str:
        place = self._rng.randint(0, len(text))
        return text[:place] + self._rng.choice(self._words) + text[place:]

    def _repeat(self, text: str) -> str:
        place = self._rng.randint(0, len(text))
        return text[:place] + self._rng.choice(self._words) * self._rng.choice((10, 100, _HUGE)) + text[place:]

    def _delete(self, text: str) -> str:
        place = self._rng.randint(0, len(text))
        return text[:place] + text[place + self._rng.choice((1, 2, 10, 100)) :]

    def _replace(self, text: str) -> str:
        if not text:
            return text
        place = self._rng.randrange(len(text))
        return text[:place] + chr(self._rng.choice((self._rng.randrange(128), 0xE9, 0xFFFD))) + text[place + 1 :]

    def _swap(self, text: str) -> str:
        lines = text.split("\n")
        first, second = self._rng.randrange(len(lines)), self._rng.randrange(len(lines))
        lines[first], lines[second] = lines[second], lines[first]
        return "\n".join(lines)

    def _double(self, text: str) -> str:
        lines = text.split("\n")
        place = self._rng.randrange(len(lines))
        return "\n".join([*lines[:place], *[lines[place]] * self._rng.choice((2, 5, 200)), *lines[place + 1 :]])

    def _indent(self, text: str) -> str:
        lines = text.split("\n")
        place = self._rng.randrange(len(lines))
        lines[place] = " " * self._rng.choice((1, 2, 7, 500)) + lines[place]
        return "\n".join(lines)


_CHANGES = (
    Mutator._insert,
    Mutator._insert,
    Mutator._repeat,
    Mutator._delete,
    Mutator._replace,
    Mutator._swap,
    Mutator._double,
    Mutator._indent,
)
