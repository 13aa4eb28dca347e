"""What a service's process imports: counted in megabytes of each, and in the time that a start takes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.places import clean_environment

_IMPORTED = re.compile(r"^import time:[ \d|]+\| +(\S+)$", re.MULTILINE)


def imported(service: str) -> set[str]:
    """What a service has imported when it looks at its settings, of which there are none."""
    command = [sys.executable, "-X", "importtime", "-m", f"taskforge.{service}"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    return set(_IMPORTED.findall(done.stderr))


@pytest.mark.parametrize("service", ["gateway", "scheduler", "ingest", "executor"])
def test_a_service_does_without_rich(service: str) -> None:
    modules = imported(service)
    assert "structlog" in modules
    assert not {name for name in modules if name.startswith(("rich.", "pygments"))}


def test_ingest_has_no_compiler_before_a_webhook_needs_it() -> None:
    assert not imported("ingest") & {"pydantic", "yaml", "taskforge.language.parse"}


_LATER = """
import gc
from taskforge.runtime.lean import lean_imports
with lean_imports():
    try:
        import rich
    except ImportError:
        print("without")
import rich.ansi
print("with", gc.isenabled())
"""


def test_what_is_imported_later_finds_everything() -> None:
    done = subprocess.run([sys.executable, "-c", _LATER], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["without", "with True", ""]
