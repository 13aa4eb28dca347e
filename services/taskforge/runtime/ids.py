"""New identifiers: the one place that reads the clock and the random source for them."""

from __future__ import annotations

import secrets
import time
from uuid import UUID

from taskforge.domain.ids import uuid7


def new_id() -> UUID:
    """A UUIDv7 of now."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))
