"""The license is the exact text of Apache-2.0, and whoever installs the package gets it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.support.places import ROOT

_APACHE_2_0 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
_OWNER = "Copyright 2026 The TaskForge authors"
_BLANK = "Copyright [yyyy] [name of copyright owner]"


def test_the_text_is_that_of_apache_2_0_with_the_owner_filled_in() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.count(_OWNER) == 1
    assert hashlib.sha256(text.replace(_OWNER, _BLANK).encode()).hexdigest() == _APACHE_2_0


def test_package_and_image_name_the_same_license() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert [project["license"]] == re.findall(r'image\.licenses="(.+)"', image) == ["Apache-2.0"]


def test_the_wheel_carries_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (path,) = (name for name in files.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
        assert files.read(path) == (ROOT / "LICENSE").read_bytes()


def test_the_image_is_built_with_it() -> None:
    """What the build cannot see, its wheel cannot carry."""
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), re.M)
    seen = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sources = [source for line in copied for source in line.split()]
    assert "LICENSE" in sources
    assert [source for source in sources if f"!{source}" not in seen] == []
