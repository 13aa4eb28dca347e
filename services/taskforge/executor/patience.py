"""Asking again until there is an answer: whoever holds a lease gives up no earlier than the lease does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskforge.domain.errors import Unavailable
from taskforge.executor.holdings import Holding
from taskforge.runtime.randomness import fraction

Answer = TypeVar("Answer")

_SHORTEST = 0.05
_LONGEST = 2.0


class LeaseLost(Exception):
    """The lease is gone: nothing that is done under it has any effect, so everything about it is dropped."""


def pause_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row: doubling from 50 ms to 2 s, jittered."""
    delay: float = min(_LONGEST, _SHORTEST * 2.0 ** min(failures - 1, 16))
    return delay * (0.5 + fraction() / 2)


async def insist(ask: Callable[[], Awaitable[Answer]], holding: Holding) -> Answer:
    """Ask until somebody answers. Raises LeaseLost once the lease has surely run out."""
    failures = 0
    while True:
        try:
            return await ask()
        except Unavailable as error:
            failures += 1
            if holding.has_run_out:
                raise LeaseLost from error
        await asyncio.sleep(pause_seconds(failures))
