"""The `.env` of a Compose deployment: plain `NAME=VALUE` lines that people edit, so a change keeps the others."""

from __future__ import annotations

from pathlib import Path

from taskforge_cli.stack.files import write_private


def read(path: Path) -> dict[str, str]:
    """Its variables, as Compose understands them; a file that is missing has none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: _value(line.partition("=")[2]) for line in lines if (name := _name(line))}


def put(path: Path, name: str, value: str) -> None:
    """Set one variable, in its place or at the end."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _name(line) != name]
    place = next((at for at, line in enumerate(lines) if _name(line) == name), len(kept))
    write_private(path, "\n".join([*kept[:place], f"{name}={value}", *kept[place:]]) + "\n")


def _name(line: str) -> str:
    """What the line sets; empty for a comment."""
    name, equals, _ = line.strip().removeprefix("export ").partition("=")
    return name.strip() if equals and not name.startswith("#") else ""


def _value(text: str) -> str:
    text = text.strip()
    if text[:1] in ("'", '"'):
        return text[1:].partition(text[0])[0]
    return text.partition(" #")[0].strip()
