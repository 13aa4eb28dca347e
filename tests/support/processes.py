"""Child processes that never outlive the tests, even when the tests are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import eventually_now

# Asks the kernel to end the child when its parent dies, however it dies.
_LEASH = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
# For the kernel a parent is a thread: children are started by one that lives as long as this process, whoever asks.
_PARENT = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user to run a child as."""

    uid: int
    gid: int


class Process:
    """One child process. Its standard output and error go into a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        with log.open("ab") as output:
            self._child = _PARENT.submit(
                subprocess.Popen,
                [*_LEASH, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                cwd=log.parent,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            ).result()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._child.poll()

    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.exit_code is None:
            self._child.send_signal(number)

    def wait(self, *, within: float = 10.0) -> int:
        """Wait for its end and return its exit code."""
        return self._child.wait(within)

    def terminate(self, *, within: float = 15.0) -> int:
        """SIGTERM, then wait; SIGKILL when it takes too long. Returns its exit code."""
        self.send(signal.SIGTERM)
        try:
            return self.wait(within=within)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, also to a stopped process, then wait."""
        self.send(signal.SIGKILL)
        return self.wait()

    def ready_when(self, check: Callable[[], bool], *, within: float = 20.0) -> None:
        """Wait until `check` holds; an early end of the process is told with its output."""

        def assertion() -> None:
            if self.exit_code is not None:
                raise RuntimeError(f"{self.command} ended with {self.exit_code}:\n{self.output()}")
            assert check(), f"{self.command} is not ready:\n{self.output()}"

        eventually_now(assertion, within=within)


def unprivileged_account() -> Account | None:
    """Somebody else for programs that refuse to run as root; None when we are not root."""
    return Account(uid=65534, gid=65534) if os.geteuid() == 0 else None
