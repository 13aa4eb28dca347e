"""`Retry-After` (RFC 9110, 10.2.3): seconds, or a date that is read against the answer's own clock."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 365 * 86400.0  #: keeps absurd values within what a timestamp can hold

_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_MEANT_FOR = frozenset({413, 429, 503})


def read_retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that the other side asked us to wait; None if it did not, or not in a way that can be read."""
    value = headers.get("retry-after", "").strip()
    if not value or not (status in _MEANT_FOR or 300 <= status < 400):
        return None
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_SECONDS)
    due = _timestamp(value)
    if due is None:
        return None
    sent = _timestamp(headers.get("date", ""))
    return min(max(due - (time.time() if sent is None else sent), 0.0), LONGEST_SECONDS)


def _timestamp(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
