"""Waiting for something to become true. The one place in the tests that sleeps."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_PAUSE_SECONDS = 0.02


@overload
async def eventually(assertion: Callable[[], Awaitable[T]], *, within: float = ..., pause: float = ...) -> T: ...
@overload
async def eventually(assertion: Callable[[], T], *, within: float = ..., pause: float = ...) -> T: ...
async def eventually(assertion: Callable[[], Any], *, within: float = 10.0, pause: float = _PAUSE_SECONDS) -> Any:
    """Call `assertion` until it raises no AssertionError, and return what it returned.

    After `within` seconds its last AssertionError is raised. Any other error is raised at once.
    A longer `pause` between the calls is for those that cost something.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            result = assertion()
            return await result if inspect.isawaitable(result) else result
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(pause)


def eventually_now(assertion: Callable[[], T], *, within: float = 10.0) -> T:
    """`eventually` for code that runs outside an event loop."""
    deadline = time.monotonic() + within
    while True:
        try:
            return assertion()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)
