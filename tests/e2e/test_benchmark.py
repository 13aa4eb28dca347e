"""The benchmark can be run: a small one, whose figures mean nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

_ELSEWHERE = any(os.environ.get(name) for name in ("TASKFORGE_TEST_SERVER", "TASKFORGE_TEST_REDIS"))


@pytest.mark.skipif(_ELSEWHERE, reason="it brings a stack of its own, which is always the same")
def test_a_small_benchmark_counts_every_run(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "hop", "--runs", "20", "--repeat", "2", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    hop = json.loads(file.read_text())["hop"]
    assert hop["runs"] == 20
    assert hop["runs_per_s"]["min"] > 0
    assert {"edge", "gateway", "scheduler", "executor-1", "postgres"} <= set(hop["cpu_ms_per_run_by_process"])
