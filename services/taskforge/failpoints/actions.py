"""What a shot does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import assert_never

from taskforge.failpoints.shots import Action, Shot


class FailpointError(Exception):
    """A surprise, as a bug would be one: nobody handles it by name."""


async def act(shot: Shot, raising: type[Exception]) -> None:
    """Carry a shot out. After `kill` nothing returns."""
    match shot.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.HANG:
            await asyncio.sleep(shot.seconds)
        case Action.FREEZE:
            _stand_still(shot.seconds)
        case Action.RAISE:
            raise raising(f"failpoint {shot.point}")
        case _:
            assert_never(shot.action)


def _stand_still(seconds: float) -> None:
    """On purpose what no coroutine should do."""
    time.sleep(seconds)
