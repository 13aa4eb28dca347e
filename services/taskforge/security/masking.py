"""Keeping secret values out of whatever is stored or shown, in the encodings in which they usually travel.

This is the second line. The first is that secrets are resolved in the executor only and kept by reference; a program
that transforms a secret in a way of its own is beyond any masker.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import quote, quote_plus

from taskforge.domain.workflow import JsonValue

MASK = "•••"
MIN_LENGTH = 4  #: shorter values are not masked: they would blank out innocent text and confirm guesses by it

_MIN_INNER_BASE64 = 8  # chars of a form cut out of a longer base64 text; shorter ones match by accident
_MIN_LINE = 8  # chars of one line of a longer secret (a PEM key is often logged line by line)
_MAX_DEPTH = 200  # beyond any value that may be stored
_JS_SAFE = "!'()*"  # what encodeURIComponent leaves alone and `quote` does not
_GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})  # Go's encoding/json does this by default


class Masker:
    """Replaces the given values, and their encoded forms, by `•••`.

    Plain substring searches are faster here than one big alternation, and they find overlapping secrets too:
    everything that any form covers is masked. Masking what is masked already changes nothing.
    """

    def __init__(self, values: Iterable[str]) -> None:
        values = {value for value in values if len(value.strip()) >= MIN_LENGTH}
        self._forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._numbers = frozenset(value.strip() for value in values)

    def __repr__(self) -> str:
        return f"Masker({len(self._forms)} forms)"

    def __bool__(self) -> bool:
        return bool(self._forms)

    def mask(self, text: str) -> str:
        """The text with every known form of every value replaced."""
        for form in self._forms:
            if form in text:
                return self._replace(text)
        return text

    def mask_json(self, value: JsonValue) -> JsonValue:
        """The value with keys, strings and numbers masked; the very same object if there is nothing to mask."""
        if not self._forms or not self._may_hold_secrets(value):
            return value
        return self._masked(value, 0)

    def is_in_json(self, text: str) -> bool:
        """Whether JSON text, written with `ensure_ascii=False`, holds anything to mask."""
        return any(form in text for form in self._encoded_forms)

    @cached_property
    def _encoded_forms(self) -> tuple[str, ...]:
        """The forms as they look inside JSON text. Escaping goes character by character, so substrings stay so."""
        return tuple({json.dumps(form, ensure_ascii=False)[1:-1] for form in self._forms})

    def _may_hold_secrets(self, value: JsonValue) -> bool:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            return True  # not JSON: look at it piece by piece
        return self.is_in_json(text)

    def _masked(self, value: JsonValue, depth: int) -> JsonValue:
        if isinstance(value, str):
            return self.mask(value)
        if depth > _MAX_DEPTH:
            return MASK  # nothing this deep can be stored; do not let it through unseen
        if isinstance(value, dict):
            return self._masked_dict(value, depth)
        if isinstance(value, list | tuple):
            return [self._masked(item, depth + 1) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and _printed(value) in self._numbers:
            return MASK
        return value

    def _masked_dict(self, value: dict[JsonValue, JsonValue], depth: int) -> dict[JsonValue, JsonValue]:
        result: dict[JsonValue, JsonValue] = {}
        for key, item in value.items():
            shown = self._masked(key, _MAX_DEPTH)
            while shown in result:  # two masked keys must not become one
                shown = f"{shown}{MASK}"
            result[shown] = self._masked(item, depth + 1)
        return result

    def _replace(self, text: str) -> str:
        pieces = []
        done = 0
        for start, end in _merged(sorted(self._spans(text))):
            pieces += [text[done:start], MASK]
            done = end
        return "".join(pieces) + text[done:]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for form in self._forms:
            start = text.find(form)
            while start >= 0:
                yield start, start + len(form)
                start = text.find(form, start + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join spans that overlap, so that no tail of an inner match survives."""
    current: tuple[int, int] | None = None
    for start, end in spans:
        if current is not None and start < current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current


def _forms(value: str) -> Iterator[str]:
    """Every text in which the value may turn up. Trailing newlines of secret files are often trimmed by their user."""
    for variant in {value, value.strip(), *_lines(value)}:
        data = variant.encode("utf-8", "surrogatepass")
        yield variant
        yield from _json_forms(variant)
        yield from _url_forms(data)
        yield from _base64_forms(data)
        yield data.hex()
        yield data.hex().upper()


def _lines(value: str) -> Iterator[str]:
    lines = value.splitlines()
    if len(lines) > 1:
        stripped = (line.strip() for line in lines)
        yield from (line for line in stripped if len(line) >= _MIN_LINE and not line.startswith("-----"))


def _json_forms(value: str) -> Iterator[str]:
    """Escaped once, and twice for JSON inside a JSON string; with and without non-ASCII letters and slashes escaped."""
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield once.replace("/", "\\/")
        yield once.translate(_GO_ESCAPES)
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]


def _url_forms(data: bytes) -> Iterator[str]:
    for encoded in (quote(data), quote(data, safe=""), quote_plus(data), quote(data, safe=_JS_SAFE)):
        yield encoded
        yield _lower_escapes(encoded)


def _lower_escapes(encoded: str) -> str:
    head, *rest = encoded.split("%")
    return head + "".join(f"%{part[:2].lower()}{part[2:]}" for part in rest)


def _base64_forms(data: bytes) -> Iterator[str]:
    """As a text of its own, and as part of a longer one (`user:password`) at each of the three alignments."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield whole
        yield whole.rstrip("=")
        for offset in range(3):
            # Only characters whose six bits all come from the value: the others depend on its neighbours.
            first, last = -(-offset * 8 // 6), (offset + len(data)) * 8 // 6
            inner = encode(bytes(offset) + data).decode()[first:last]
            if len(inner) >= _MIN_INNER_BASE64:
                yield inner


def _printed(number: float) -> str | None:
    try:
        return str(number)
    except ValueError:
        return None  # an integer with too many digits to print is nobody's secret
