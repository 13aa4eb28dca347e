"""gRPC is told how to poll before it is imported, in names that it knows."""

from __future__ import annotations

import os
import subprocess
import sys


def test_grpc_knows_the_experiments_that_are_switched_off() -> None:
    done = subprocess.run([sys.executable, "-c", "import taskforge, grpc"], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_grpc_leaves_forks_alone() -> None:
    """Its preparations crashed about one child in a hundred that was started while calls were under way."""
    show = "import taskforge, os; print(os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "false\n"
