"""What a release promises: its protos may only grow, its migrations may never change.

python -m tests.support.releases  keeps both for the version in pyproject.toml
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from taskforge.store.migrate import migrations
from tests.support.places import ROOT
from tests.support.protos import PROTO, build_image

MIGRATIONS = ROOT / "tests" / "contract" / "released_migrations.txt"
_HEADER = (
    "# Checksums of released migrations: a database out there has them. Renewed by `tests/run freeze`, never by hand.\n"
)


def freeze_protos() -> Path:
    """Keep today's protos as the image that `buf breaking` compares with."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    major, minor, _ = version.split(".")
    path = PROTO / f"taskforge.v{major}.{minor}.binpb"
    build_image(path, comments=False)
    return path


def freeze_migrations() -> Path:
    """Keep the checksums of today's migrations."""
    lines = [f"{each.number:04}_{each.name} {each.checksum}\n" for each in migrations()]
    MIGRATIONS.write_text(_HEADER + "".join(lines), encoding="utf-8")
    return MIGRATIONS


def released_migrations() -> dict[str, str]:
    """Checksums by name."""
    lines = MIGRATIONS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return {name: checksum for name, checksum in pairs}


def main() -> None:
    """Keep both."""
    for path in (freeze_protos(), freeze_migrations()):
        print(f"kept {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
