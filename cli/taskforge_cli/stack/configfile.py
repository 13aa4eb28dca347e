"""The config file: TOML that people edit by hand, so a change keeps their comments and order."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskforge_cli.stack.errors import ConfigInvalid
from taskforge_cli.stack.files import write_private

Value = str | int | float | bool | list[Any]
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(slots=True)
class ConfigFile:
    """The file's text and what it means. Keys are dotted paths, as `local.port`; a part may hold no dot."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read the file; one that is missing is empty.

        Raises:
            ConfigInvalid: it is no TOML.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"{path} cannot be read: {error}") from error
        found = cls(path, text)
        found.data()
        return found

    def data(self) -> dict[str, Any]:
        """The whole content.

        Raises:
            ConfigInvalid: it is no TOML.
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigInvalid(f"{self.path}: {error}", hint="mend the file, or restore it from a backup") from error

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a dotted path."""
        found: Any = self.data()
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                return default
            found = found[part]
        return found

    def set(self, key: str, value: Value) -> bool:
        """Put a value at a dotted path, in memory. Returns whether that changed anything."""
        if self.get(key) == value and type(self.get(key)) is type(value):
            return False
        wanted = _with(self.data(), key.split("."), value)
        *table, name = key.split(".")
        edited = _edit(self.text, table, f"{_key(name)} = {_literal(value)}\n", name)
        # A file of unusual shape (inline tables, arrays over many lines) is written anew instead.
        self.text = edited if _parses_as(edited, wanted) else _dump(wanted)
        return True

    def save(self) -> None:
        """Write the file, 0600, in one step."""
        write_private(self.path, self.text)


def _with(data: Mapping[str, Any], path: list[str], value: Value) -> dict[str, Any]:
    copy = dict(data)
    name, *rest = path
    below = copy.get(name)
    copy[name] = _with(below if isinstance(below, dict) else {}, rest, value) if rest else value
    return copy


def _edit(text: str, table: list[str], line: str, name: str) -> str:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    starts = [-1, *(number for number, content in enumerate(lines) if content.lstrip().startswith("["))]
    start = next((at for at in starts if (_header(lines[at]) if at >= 0 else []) == table), None)
    if start is None:
        return "".join([*lines, "\n" if lines else "", f"[{'.'.join(map(_key, table))}]\n", line])
    end = min((at for at in starts if at > start), default=len(lines))
    for number in range(start + 1, end):
        if _defines(lines[number], name):
            return "".join([*lines[:number], line, *lines[number + 1 :]])
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return "".join([*lines[:end], line, *lines[end:]])


def _header(line: str) -> list[str] | None:
    """The path of a `[table]` line."""
    try:
        found: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    path = []
    while isinstance(found, dict) and found:
        name, found = next(iter(found.items()))
        path.append(name)
    return path


def _defines(line: str, name: str) -> bool:
    try:
        return name in tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False


def _parses_as(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _dump(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    plain = {name: value for name, value in data.items() if not isinstance(value, dict)}
    text = "".join(f"{_key(name)} = {_literal(value)}\n" for name, value in plain.items())
    if path and (text or not data):
        text = f"\n[{'.'.join(map(_key, path))}]\n{text}"
    return text + "".join(_dump(value, (*path, name)) for name, value in data.items() if isinstance(value, dict))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_literal(item)}" for name, item in value.items()) + "}"
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _string(text: str) -> str:
    # TOML's basic strings are JSON's, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
