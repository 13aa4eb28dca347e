"""Run a program that refuses root, from a root-owned folder that nobody else may enter.

PostgreSQL does not run as root. An ordinary user notices nothing of this module. For root there are two ways:

- `uid:N` gives up root for the user N, keeping one right: to walk through folders (CAP_DAC_READ_SEARCH, or
  CAP_DAC_OVERRIDE in containers, whose root lacks the first). The data belongs to N and stays in root's 0700 home.
- `namespace:N` makes a user namespace in which root is called N. The data stays root's. Where a container's root is in
  truth an ordinary user, no other user exists and this way is left.

    python -m taskforge_cli.stack.unprivileged IDENTITY COMMAND…
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

#: A user that exists nowhere, so that nobody else's processes share its rights.
_PRIVATE_UID = 61763

_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a program runs: `self`, `uid` or `namespace`, the latter two with a user's number."""

    kind: str
    uid: int

    @classmethod
    def parse(cls, text: str) -> Identity:
        """The inverse of `str()`."""
        kind, _, uid = text.partition(":")
        return cls(kind, int(uid or os.geteuid()))

    def __str__(self) -> str:
        return f"{self.kind}:{self.uid}"

    @property
    def owner(self) -> int:
        """Who owns the files of such a program, seen from outside."""
        return self.uid if self.kind == "uid" else os.geteuid()


def candidates() -> list[Identity]:
    """The ways to try, best first."""
    if os.geteuid() != 0:
        return [Identity("self", os.geteuid())]
    return [Identity("uid", _private_uid()), Identity("namespace", named_uid())]


def of_owner(uid: int) -> Identity:
    """The way in which files of this owner were made."""
    if os.geteuid() != 0:
        return Identity("self", os.geteuid())
    return Identity("uid", uid) if uid != 0 else Identity("namespace", named_uid())


def named(identity: Identity) -> Identity:
    """The like of it that has a name, and whose files can be handed over afterwards: initdb insists on a name."""
    try:
        pwd.getpwuid(identity.uid)
    except KeyError:
        return Identity("uid" if identity.kind == "uid" else "namespace", named_uid())
    return identity


def named_uid() -> int:
    """A user other than root that has a name."""
    users = {user.pw_name: user.pw_uid for user in pwd.getpwall() if user.pw_uid != 0}
    return users.get("nobody") or min(users.values(), default=65534)


def execute(identity: Identity, command: Sequence[str]) -> NoReturn:
    """Become that identity and the program.

    Raises:
        OSError: the kernel or the container does not allow it.
    """
    become(identity)
    os.execv(command[0], list(command))  # noqa: S606  no shell is wanted


def become(identity: Identity) -> None:
    """Change this process for good."""
    if identity.kind == "uid":
        _drop_to(identity.uid)
    elif identity.kind == "namespace":
        _enter_namespace(identity.uid)


def _drop_to(uid: int) -> None:
    walk = _best_walk_capability()
    # access(2) forgets the capabilities of non-root users, and PostgreSQL asks it about its own path, unless told so.
    _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    mask = 1 << walk
    header, sets = struct.pack("=II", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", mask, mask, mask, 0, 0, 0)
    _check(_libc.capset(header, sets), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, walk)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _enter_namespace(uid: int) -> None:
    gid = os.getegid()
    outer = os.geteuid()
    _check(_libc.unshare(_CLONE_NEWUSER), "unshare")
    # Nothing may be imported from here on: the new namespace may not enter the folders that the old one could.
    with suppress(FileNotFoundError):
        Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(f"{uid} {outer} 1".encode())
    Path("/proc/self/gid_map").write_bytes(f"{uid} {gid} 1".encode())
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _best_walk_capability() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    permitted = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm:")), 16)
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if permitted >> capability & 1:
            return capability
    raise PermissionError("this root may not walk through closed folders")


def _private_uid() -> int:
    taken = {user.pw_uid for user in pwd.getpwall()}
    return next(uid for uid in range(_PRIVATE_UID, 65534) if uid not in taken)


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *values: int) -> None:
    # Variadic: without explicit longs the upper halves of the arguments would be undefined.
    arguments = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(ctypes.c_int(option), *arguments), f"prctl({option})")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def main() -> None:
    """Run the command; or, as `IDENTITY probe FILE`, say by the exit code whether that program could be run."""
    identity, command = Identity.parse(sys.argv[1]), sys.argv[2:]
    try:
        if command[0] == "probe":
            become(identity)
            sys.exit(0 if os.access(command[1], os.X_OK) else "not reachable")
        execute(identity, command)
    except OSError as error:
        sys.exit(f"cannot run as {identity}: {error}")


if __name__ == "__main__":
    main()
