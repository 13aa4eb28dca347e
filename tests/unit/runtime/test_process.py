"""What a service's process is like before it serves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SERVICE = """
import os, signal, threading
from taskforge.runtime.config import ProcessConfig
from taskforge.runtime.process import run_service

class Service:
    async def start(self):
        own = lambda: print("policy", os.sched_getscheduler(0), flush=True)
        own()
        thread = threading.Thread(target=own)
        thread.start()
        thread.join()
        os.kill(os.getpid(), signal.SIGTERM)

    async def stop(self):
        pass

config = ProcessConfig(
    listen="", metrics_listen="", log_format="json", log_level="error", internal_token="", drain_seconds=0.0
)
run_service("scheduler", config, Service)
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has this policy")
def test_services_and_their_threads_wait_for_their_turn() -> None:
    done = subprocess.run([sys.executable, "-c", SERVICE], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [f"policy {os.SCHED_BATCH}"] * 2
