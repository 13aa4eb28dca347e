"""A secret's value is nowhere but in the key ring's sealed box and in the memory of the step that uses it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from taskforge.invariants.rows import History, Outside, Violation

#: A shorter value would be found by chance.
_LEAST_CHARS = 8


def secrets_do_not_leak(_: History, outside: Outside) -> Iterator[Violation]:
    """I24: a secret's value is in none of the texts, in no form."""
    forms = [(number, form, text) for number, value in enumerate(outside.canaries) for form, text in forms_of(value)]
    for name, text in outside.texts.items():
        for number, form, wanted in forms:
            if wanted in text:
                yield Violation(invariant="I24", message=f"canary {number} is in {name}, {form}")
                break


def forms_of(value: str) -> list[tuple[str, str]]:
    """How a value may be written: the name of the form, and the text to look for."""
    raw = value.encode()
    found = [
        ("as it is", value),
        ("as JSON", json.dumps(value)[1:-1]),
        ("as JSON in JSON", json.dumps(json.dumps(value)[1:-1])[1:-1]),
        ("in a URL", quote(value, safe="")),
        ("in a form", quote_plus(value)),
        ("in hex", raw.hex()),
        ("in hex", raw.hex().upper()),
    ]
    found += [("in base64", text) for text in _base64_cores(raw)]
    found += [("in base64", text.replace("+", "-").replace("/", "_")) for text in _base64_cores(raw)]
    return [(form, text) for form, text in found if len(text) >= _LEAST_CHARS]


def _base64_cores(raw: bytes) -> Iterator[str]:
    """The part that does not depend on the neighbours, for each of the three places that the value may begin at."""
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        first = (shift * 8 + 5) // 6
        last = (shift + len(raw)) * 8 // 6
        yield text[first:last]
