"""The `.env` of a Compose deployment: plain `NAME=VALUE` lines that people edit, so a change keeps the others."""

from __future__ import annotations

from pathlib import Path

from taskforge_cli.stack.files import write_private


def read(path: Path) -> dict[str, str]:
    """Its variables."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def put(path: Path, name: str, value: str) -> None:
    """Set one variable, in its place or at the end."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.partition("=")[0].strip() != name]
    place = next((at for at, line in enumerate(lines) if line.partition("=")[0].strip() == name), len(kept))
    write_private(path, "\n".join([*kept[:place], f"{name}={value}", *kept[place:]]) + "\n")
