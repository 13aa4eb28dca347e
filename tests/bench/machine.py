"""What the figures were taken on. No names of anything: what others need to judge the figures."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from taskforge_cli.stack import install
from tests.support.places import ROOT

_LOOPS = 200_000


def setting() -> dict[str, Any]:
    """The machine, its programs, and how busy it was before anything was started."""
    programs = install.locate()
    return {
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": {
            "version": platform.python_version(),
            "optimised": _optimised(),
            "million_loops_ms": round(_million_loops_ms(), 1),
        },
        "postgresql": _output(str(programs.postgres()), "--version").rpartition(" ")[2],
        "valkey": _word(_output(str(programs.valkey), "--version"), "v="),
        "envoy": "".join(re.findall(r"/(\d+\.\d+\.\d+)/", _output(str(programs.envoy), "--version"))[-1:]),
    }


def _optimised() -> str:
    """Whether the interpreter was built with profile-guided optimisation, as far as it tells."""
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        return "yes"
    # Debian and Fedora build with profiles by make targets of their own, which leave no trace.
    return "by the distribution" if sys.base_prefix == "/usr" else "no"


def _million_loops_ms() -> float:
    """How fast this interpreter is on this core: an unoptimised one is half as fast."""
    best = float("inf")
    for _ in range(3):
        total, began = 0, time.process_time()
        for number in range(_LOOPS):
            total += number * 2 % 7
        best = min(best, time.process_time() - began)
    return best * 1000 * 1_000_000 / _LOOPS


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _word(text: str, prefix: str) -> str:
    return next((word.removeprefix(prefix) for word in text.split() if word.startswith(prefix)), "")
