"""Takes away from the worker process whatever evaluating an expression does not need.

Called once, after every import: afterwards the process can start no other, write no file and open no socket; it can
only compute and speak over the channel it has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import sys
import time
from pathlib import Path

MEMORY_BYTES = 512 * 1024 * 1024

_NICENESS = 5  # the service must not miss its heartbeats because an evaluation is busy

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_LIMITS = {
    resource.RLIMIT_AS: MEMORY_BYTES,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NPROC: 0,  # not for root, which is why root steps down
}


def confine(parent_pid: int, *, reads_time_zones: bool) -> None:
    """Drop privileges, environment and resources; die together with the parent.

    CEL loads time zones from files when it meets them; it has no other way to a file or to the environment. jq has
    both, so for jq nothing is left: its `import` would read JSON files.
    """
    if not reads_time_zones:
        _forget_environment()
    with contextlib.suppress(OSError):  # when memory runs out, the kernel should take this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    nobody = _find_nobody()
    for limit, value in _LIMITS.items():
        _lower(limit, value)
    # Descriptors that are open stay open; with room for one more, one file at a time can be read.
    _lower(resource.RLIMIT_NOFILE, _first_free_descriptor() + 1 if reads_time_zones else 0)
    if nobody is not None:
        _become(*nobody)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Last, because a change of user clears it; then look whether the parent was gone before.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(0)


def _forget_environment() -> None:
    """Empty the environment that jq's `env` reads, and fix the time zone, which would come from a file."""
    os.environ["TZ"] = "UTC0"
    time.tzset()
    os.environ.clear()


def _first_free_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


def _find_nobody() -> tuple[int, int] | None:
    """User and group to become, if this process is root's. Looked up while files can still be opened."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def _become(user: int, group: int) -> None:
    # A container may run as root without the right to change users; the limits hold all the same.
    with contextlib.suppress(PermissionError):
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS has no RLIMIT_AS that it enforces
        resource.setrlimit(limit, (wanted, wanted))
