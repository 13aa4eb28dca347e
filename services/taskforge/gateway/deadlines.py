"""How long a downstream call may take: the caller's own deadline, less what the answer needs, and never for ever."""

from __future__ import annotations

from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]

CALL_SECONDS = 15.0  #: the longest that a call to the scheduler may take
_MARGIN_SECONDS = 0.25
_LEAST_SECONDS = 0.05


def seconds_left(context: Context, *, cap: float = CALL_SECONDS) -> float:
    """Seconds for what is still to be done in this call."""
    remaining = context.time_remaining()
    if remaining is None:
        return cap
    return max(min(cap, remaining - _MARGIN_SECONDS), _LEAST_SECONDS)
