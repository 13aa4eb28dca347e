"""The processes' logs: one file each, rotated by the supervisor to `.1` … `.3`."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from taskforge_cli.stack.errors import NoSuchProcess
from taskforge_cli.stack.home import Home

_POLL_SECONDS = 0.2
_SUPERVISOR = "supervisord"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one process."""

    process: str
    text: str


def available(home: Home) -> list[str]:
    """Whose logs there are: `migrate` and `supervisord` besides the processes."""
    return sorted(path.stem for path in home.log_dir.glob("*.log"))


def chosen(home: Home, names: Sequence[str]) -> list[str]:
    """The logs for names and roles (`executor` is every executor); all but the supervisor's if none is named.

    Raises:
        NoSuchProcess: nothing has such a log.
    """
    known = available(home)
    if not names:
        return [name for name in known if name != _SUPERVISOR]
    found: list[str] = []
    for name in names:
        matches = [log for log in known if name in (log, log.partition("-")[0])]
        if not matches:
            raise NoSuchProcess(f"there is no log of {name!r}", hint=f"there are: {', '.join(known) or 'none yet'}")
        found += [match for match in matches if match not in found]
    return found


def files(home: Home, name: str) -> list[Path]:
    """A process's log files, oldest first."""
    current = home.log_dir / f"{name}.log"
    rotated = [current.with_name(f"{current.name}.{number}") for number in (3, 2, 1)]
    return [path for path in (*rotated, current) if path.exists()]


def tail(home: Home, names: Sequence[str] = (), lines: int = 100) -> list[LogLine]:
    """The last lines of each chosen log, process by process."""
    found = []
    for name in chosen(home, names):
        kept: deque[str] = deque(maxlen=lines)
        for path in files(home, name):
            with path.open(encoding="utf-8", errors="replace") as file:
                kept.extend(line.rstrip("\n") for line in file)
        found += [LogLine(name, text) for text in kept]
    return found


def follow(home: Home, names: Sequence[str] = (), *, stopped: Callable[[], bool] = lambda: False) -> Iterator[LogLine]:
    """Lines as they are written from now on, also across a rotation, until `stopped()` or the caller goes."""
    followers = [_Follower(name, home.log_dir / f"{name}.log") for name in chosen(home, names)]
    try:
        while not stopped():
            fresh = [line for follower in followers for line in follower.read()]
            yield from fresh
            if not fresh:
                time.sleep(_POLL_SECONDS)
    finally:
        for follower in followers:
            follower.close()


@dataclass(slots=True)
class _Follower:
    name: str
    path: Path
    _file: BinaryIO | None = None
    _part: bytes = b""
    _from_start: bool = field(default=False)

    def __post_init__(self) -> None:
        self._open()

    def read(self) -> list[LogLine]:
        """Whole lines that have come since the last call."""
        data = self._file.read() if self._file else b""
        if not data and self._was_replaced():
            self.close()
            self._open()
        *whole, self._part = (self._part + data).split(b"\n")
        return [LogLine(self.name, line.decode(errors="replace")) for line in whole]

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError:
            return
        if not self._from_start:
            self._file.seek(0, 2)
        self._from_start = True  # whatever replaces this file is new from its first byte on

    def _was_replaced(self) -> bool:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        if self._file is None:
            return True
        opened = os.fstat(self._file.fileno())
        return found.st_ino != opened.st_ino or found.st_size < self._file.tell()
