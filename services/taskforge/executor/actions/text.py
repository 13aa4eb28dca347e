"""Rendered parameters that are shown to people."""

from __future__ import annotations

import json

from taskforge.domain.workflow import JsonValue


def as_text(value: JsonValue) -> str:
    """The value as text: a template that is one whole expression keeps its type until here."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
