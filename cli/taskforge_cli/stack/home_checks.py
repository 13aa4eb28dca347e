"""Checks of the home folder: owner, modes, config, keys."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from taskforge_cli.stack import config
from taskforge_cli.stack.errors import StackError
from taskforge_cli.stack.findings import Finding, fail, ok, warn
from taskforge_cli.stack.home import Home

_KEY_BYTES = 32
_TOKEN_CHARACTERS = 32


def check_home(
    home: Home, environ: Mapping[str, str], *, secrets: Path | None = None, private: Sequence[Path] = ()
) -> Iterator[Finding]:
    """All of them; only the first if there is no home yet.

    Args:
        home: the home folder.
        environ: where variables may override its config.
        secrets: the folder of keys and tokens, if it is not the home's own.
        private: more paths that must be closed to other users.
    """
    if not home.config_file.exists():
        yield warn("home", f"there is no TaskForge home in {home.root}", "taskforge init")
        return
    try:
        home.check_owner()
    except StackError as error:
        yield fail("home", error.message, error.hint)
        return
    yield ok("home", str(home.root))
    yield _config(home, environ)
    yield _modes([*_private_paths(home), *private])
    yield _internal_token((secrets or home.secrets_dir) / home.internal_token_file.name)
    yield _keyring((secrets or home.secrets_dir) / home.keyring_file.name)


def _config(home: Home, environ: Mapping[str, str]) -> Finding:
    try:
        found = config.load(home, environ)
    except StackError as error:
        return fail("config", error.message, error.hint or f"edit {home.config_file}")
    overridden = [setting.origin for setting in found.settings.values() if setting.origin.startswith("TASKFORGE_")]
    return ok("config", f"{home.config_file}" + (f", overridden by {', '.join(overridden)}" if overridden else ""))


def _modes(private: Sequence[Path]) -> Finding:
    open_to_others = [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if not open_to_others:
        return ok("file-modes", "closed to other users")
    names = ", ".join(str(path) for path in open_to_others)
    return fail("file-modes", f"open to other users: {names}", f"chmod go= {names}", partial(_close, open_to_others))


def _private_paths(home: Home) -> list[Path]:
    files = [home.config_file, *(home.secrets_dir.iterdir() if home.secrets_dir.exists() else ())]
    return [path for path in (home.root, home.secrets_dir, home.run_dir, *files) if path.exists()]


def _close(paths: list[Path]) -> None:
    for path in paths:
        os.chmod(path, stat.S_IMODE(path.stat().st_mode) & 0o700)  # noqa: PTH101


def _internal_token(path: Path) -> Finding:
    try:
        length = len(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        return fail("internal-token", f"cannot be read: {error}", "taskforge init")
    if length < _TOKEN_CHARACTERS:
        fix = f"remove {path}, then: taskforge init && taskforge restart"
        return fail("internal-token", f"is only {length} characters long", fix)
    return ok("internal-token", "present")


def _keyring(path: Path) -> Finding:
    fix = "restore the key ring from a backup: without it, stored secrets stay sealed"
    try:
        ring = json.loads(path.read_text(encoding="utf-8"))
        keys = {name: base64.b64decode(key, validate=True) for name, key in ring["keys"].items()}
        active = ring["active"]
    except FileNotFoundError:
        return fail("key-ring", f"{path} is missing", f"{fix}; or make a new one: taskforge init")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, binascii.Error):
        return fail("key-ring", f"{path} is damaged", fix)
    if active not in keys or any(len(key) != _KEY_BYTES for key in keys.values()):
        return fail("key-ring", f"{path} has no usable active key", fix)
    return ok("key-ring", f"{len(keys)} key{'s' if len(keys) > 1 else ''}, active: {active}")
