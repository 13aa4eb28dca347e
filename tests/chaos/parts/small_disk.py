"""A disk of a few hundred megabytes that can be filled and emptied. Mounting takes root; others are told to skip."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BALLAST = "ballast"
_BLOCK = bytes(1 << 20)


class SmallDisk:
    """A file system in memory, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return shutil.disk_usage(self.folder).free

    def fill(self, *, leave: int = 0) -> None:
        """Take all that is left, but for `leave` bytes."""
        with (self.folder / _BALLAST).open("ab", buffering=0) as ballast:
            try:
                while self.free > leave:
                    ballast.write(_BLOCK[: min(len(_BLOCK), self.free - leave)])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.folder / _BALLAST).unlink(missing_ok=True)


def why_no_small_disk() -> str:
    """Why none can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "mounting a file system takes root"
    if shutil.which("mount") is None:
        return "there is no mount program"
    return ""


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 300) -> Iterator[SmallDisk]:
    """Mounted at `folder`, which is made, for the time of a block. Nothing may run on it any more at the end."""
    folder.mkdir(mode=0o711)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")
