"""The language behind one thread: compiling a large file must not hold up other calls."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from taskforge.language.parse import Parsed, parse_workflow

_KEPT_TEXTS = 256


class Compiler:
    """Compiles definitions, and remembers the last ones by their text."""

    def __init__(self) -> None:
        # One thread, so that each text is compiled once, and nothing asks whether the expression library is
        # safe to use from two.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compiler")
        self._parse = lru_cache(maxsize=_KEPT_TEXTS)(parse_workflow)

    async def parse(self, source: str) -> Parsed:
        """The compiled workflow, or everything that is wrong with its text."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._parse, source)

    def close(self) -> None:
        """End the thread; what waits for it is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)
