"""The command line as a process: what it said, how it ended, and where it stood if it did not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

#: Longer than any command waits by itself, so that its own error is seen: following a run gives up after a minute.
_SECONDS = 90.0
_PROGRAM = Path(sys.executable).with_name("taskforge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    output: str
    errors: str

    def json(self) -> Any:
        """The output as JSON."""
        return json.loads(self.output)


class TookTooLong(AssertionError):
    """A command did not end."""


class Command:
    """A command that goes on beside the test, until `end` or the end of the block."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._output, self._errors = _file(), _file()
        self._process = subprocess.Popen(
            [str(_PROGRAM), *arguments],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._errors,
            env={**environment, "PYTHONFAULTHANDLER": "1"},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._output, self._errors, self._process:
            self._process.kill()

    @property
    def output(self) -> str:
        """What it has written to standard output so far."""
        return _read(self._output)

    def end(self, *, expect: int = 0, stdin: str = "", within: float = _SECONDS) -> Finished:
        """Wait until it ends with this exit code.

        Raises:
            TookTooLong: it does not end; says what it has written, and where each of its threads stands.
        """
        said = f"taskforge {' '.join(self._arguments)}"
        try:
            self._process.communicate(stdin, timeout=within)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # at which Python's fault handler writes the threads' stacks
            self._process.communicate()
            raise TookTooLong(f"{said} did not end within {within:g} s\n{self.output}\n{_read(self._errors)}") from None
        finished = Finished(exit_code=self._process.returncode, output=self.output, errors=_read(self._errors))
        assert finished.exit_code == expect, f"{said} ended with {finished}"
        return finished


def _file() -> IO[str]:
    """What is read from here does not move the place where the process goes on to write."""
    return tempfile.TemporaryFile("a+", encoding="utf-8")


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
