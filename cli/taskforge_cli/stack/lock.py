"""One change of the stack at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskforge_cli.stack.errors import Busy
from taskforge_cli.stack.home import Home

_POLL_SECONDS = 0.05


@contextmanager
def exclusive(home: Home, *, patience: float = 90.0) -> Iterator[None]:
    """Hold the home's lock. The kernel releases it with the process, however that ends.

    Raises:
        Busy: another command held it for longer than `patience` seconds.
    """
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _taken(descriptor):
            if time.monotonic() > deadline:
                raise Busy(f"another command is changing the stack in {home.root}", hint="taskforge status")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
