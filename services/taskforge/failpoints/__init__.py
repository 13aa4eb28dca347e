"""Named points in the services where a test may kill, hang, freeze or fail them.

Off unless TASKFORGE_TEST_FAILPOINTS names a folder. What is to happen lies in that folder as files, the shots. Whoever
reaches a shot's point first claims it by a rename into `fired/`: so each shot fires once, restarts fire none again, and
`fired/` is the log of what was done.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from taskforge.failpoints.actions import FailpointError, act
from taskforge.failpoints.folder import FIRED, FolderRefused, checked_folder
from taskforge.failpoints.points import Point
from taskforge.failpoints.shots import Action, Range

__all__ = ["FIRED", "Action", "FailpointError", "FolderRefused", "Point", "checked_folder", "reach", "switch_on"]

log = structlog.get_logger()

_range: Range | None = None


def switch_on(folder: Path, service: str) -> None:
    """Let this process fire the shots in a folder that `checked_folder` has accepted. There is no way back."""
    global _range
    _range = Range(folder, service)
    log.warning("failpoints_switched_on", folder=str(folder), danger="tests may kill this process at any moment")


async def reach(point: Point, *, raising: type[Exception] = FailpointError) -> None:
    """Do what a shot at this point says; nothing if there is none.

    Args:
        point: where the caller is.
        raising: what `raise` raises here: the error of the driver whose failure is played.
    """
    if _range is not None:
        shot = _range.claim(point)
        if shot is not None:
            await act(shot, raising)
