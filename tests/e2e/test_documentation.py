"""Every command that the documentation shows is run, in its order, against a real stack.

A ```sh block is run; a ```yaml block whose first line is `# file: NAME` is written to that file first. Other blocks
are for the eye. Each page gets a folder of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.stack import Stack

TUTORIAL = "docs/tutorial/first-workflow.md"
PAGES = [TUTORIAL, "docs/how-to/receive-webhooks.md", "docs/how-to/handle-failures.md"]
_BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


def script_of(page: str, folder: Path) -> str:
    """One shell script of a page's blocks."""
    lines = ["set -e"]
    for number, (kind, text) in enumerate(_BLOCK.findall((ROOT / page).read_text()), 1):
        file = _FILE.match(text)
        if kind == "yaml" and file:
            source = folder / f"block-{number}.yaml"
            source.write_text(text)
            lines.append(f"cp {source.name} {file[1]}")
        elif kind == "sh":
            lines.append(text)
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page: str, stack: Stack, tmp_path: Path) -> None:
    if page == TUTORIAL and not stack.is_local:
        pytest.skip("a run of it calls the server at the address that this machine uses")
    environment = {**stack.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script_of(page, tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
