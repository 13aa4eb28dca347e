"""gRPC is told how to poll before it is imported, in names that it knows."""

from __future__ import annotations

import subprocess
import sys


def test_grpc_knows_the_experiments_that_are_switched_off() -> None:
    done = subprocess.run([sys.executable, "-c", "import taskforge, grpc"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
