"""Write envoy.yaml, the edge's configuration in containers, from the template in services/taskforge/edge.

    python deploy/envoy/render.py           writes deploy/envoy/envoy.yaml
    python deploy/envoy/render.py --check   writes nothing; exits 1 if what is checked in differs

Run it with the project's virtual environment. The result is checked in, so that Compose needs nothing but Docker.
"""

from __future__ import annotations

import sys
from pathlib import Path

from taskforge.edge.render import EdgeSettings, render

_TARGET = Path(__file__).with_name("envoy.yaml")
_HEADER = "# Rendered by deploy/envoy/render.py: change services/taskforge/edge instead, and run it again.\n#\n"
_SETTINGS = EdgeSettings(
    listen="0.0.0.0:7610",  # the container's own network; Compose decides what the host publishes
    admin="127.0.0.1:9901",
    gateway="gateway:7611",
    ingest="ingest:7613",
    health_check_seconds=5,  # there may be several gateways, and any of them may come and go
    descriptors=Path("/etc/envoy/descriptors.binpb"),
)


def main() -> None:
    """Write the file, or check it."""
    text = _HEADER + render(_SETTINGS)
    if sys.argv[1:] != ["--check"]:
        _TARGET.write_text(text, encoding="utf-8")
    elif not _TARGET.exists() or _TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{_TARGET.name} is not what the template renders to; run deploy/envoy/render.py")


if __name__ == "__main__":
    main()
