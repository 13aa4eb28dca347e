"""A health check for containers: `python -m taskforge.runtime.probe HOST:PORT` exits 0 when the service is ready.

It asks /healthz on the metrics address. Asking the gRPC health service would say the same, and cost 0.3 s of CPU each
time to import gRPC.
"""

from __future__ import annotations

import http.client
import sys

_TIMEOUT_SECONDS = 2.0


def is_ready(address: str) -> bool:
    """Ask once."""
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def main() -> None:
    """Check the address on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m taskforge.runtime.probe HOST:PORT")
    sys.exit(0 if is_ready(sys.argv[1]) else 1)


if __name__ == "__main__":
    main()
