"""Where shots lie, and which folders are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FIRED = "fired"  #: the folder's own folder for shots that have fired

_PRIVATE = 0o700


class FolderRefused(Exception):
    """Not a folder that may decide about the life of a process."""


def checked_folder(path: Path) -> Path:
    """The folder, absolute, with its `fired/` in it.

    Raises:
        FolderRefused: somebody else could put shots into it, or it is no folder.
    """
    try:
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise FolderRefused("it is no folder")
        if found.st_uid != os.geteuid():
            raise FolderRefused("it belongs to another user")
        if stat.S_IMODE(found.st_mode) != _PRIVATE:
            raise FolderRefused(f"its mode is {stat.S_IMODE(found.st_mode):04o}; it must be {_PRIVATE:04o}")
        (path / FIRED).mkdir(mode=_PRIVATE, exist_ok=True)
    except OSError as error:
        raise FolderRefused(str(error)) from error
    return path.resolve()
