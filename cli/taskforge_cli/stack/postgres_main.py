"""What the supervisor runs as PostgreSQL: waits until no process of an earlier server is left, then becomes the server.

    python -m taskforge_cli.stack.postgres_main STACK_ID SOCKETS POSTGRES -D DATA …

A postmaster that was killed leaves children behind which still hold the shared memory, and a `postmaster.pid` whose
number may by now belong to anybody. A lock on a file beside the data, which every process of the server inherits,
says reliably when the last of them is gone: only then are the left-over files removed and the server started.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from taskforge_cli.stack import processes, unprivileged

_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.02


def main() -> None:
    """Clear away what an earlier server left, and start."""
    stack_id, sockets, *command = sys.argv[1:]
    data = Path(command[command.index("-D") + 1])
    lock = os.open(data.with_name("postgres.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(lock):
        _end_leftovers(stack_id)
        if not _wait_for_lock(lock):
            sys.exit("processes of an earlier server still use the data; the supervisor will try again")
    os.set_inheritable(lock, True)
    for name in (data / "postmaster.pid", *Path(sockets).glob(".s.PGSQL.*.lock")):
        name.unlink(missing_ok=True)
    identity = unprivileged.of_owner(data.stat().st_uid)
    try:
        unprivileged.execute(identity, command)
    except OSError as error:
        sys.exit(f"cannot run PostgreSQL as {identity}: {error}")


def _end_leftovers(stack_id: str) -> None:
    # Without a postmaster they cannot be of use. SIGQUIT is how a postmaster itself would end them at once.
    pids = [process.pid for process in processes.find_postgres(stack_id)]
    processes.stop(pids, signal.SIGQUIT, patience=2.0)


def _wait_for_lock(lock: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _locked(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
