"""Read `docker inspect` of the stack's containers on standard input; print one line for each way out of confinement."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

# The edge alone may publish ports, and by default on loopback.
PUBLISHER = "envoy"
DATABASE_USERS = frozenset({"postgres", "migrate", "gateway", "scheduler", "ingest"})


def main() -> None:
    """Print the faults of every container."""
    for container in json.load(sys.stdin):
        name = container["Name"].removeprefix("/")
        for fault in faults(container):
            print(f"{name}: {fault}")


def faults(container: dict[str, Any]) -> Iterator[str]:
    """What this container may do and should not."""
    config, host = container["Config"], container["HostConfig"]
    service = config["Labels"]["com.docker.compose.service"]
    if config["User"].partition(":")[0] in ("", "0", "root"):
        yield "runs as root"
    if not host["ReadonlyRootfs"]:
        yield "has a writable root file system"
    if host["CapDrop"] != ["ALL"] or host["CapAdd"] or host["Privileged"]:
        yield "holds capabilities"
    if "no-new-privileges:true" not in (host["SecurityOpt"] or []):
        yield "may gain privileges"
    if not host["Memory"] or not host["PidsLimit"] or not host["NanoCpus"]:
        yield "has no limit of memory, processes or CPU"
    if host["LogConfig"]["Type"] == "json-file" and "max-size" not in host["LogConfig"]["Config"]:
        yield "has unbounded logs"
    yield from _mount_faults(container)
    yield from _network_faults(service, container)


def _mount_faults(container: dict[str, Any]) -> Iterator[str]:
    for mount in container["Mounts"]:
        if mount["Source"].endswith("docker.sock"):
            yield "can command Docker"
        if mount["Type"] == "bind" and mount["RW"] and not mount["Destination"].startswith("/run/secrets/"):
            yield f"can write to the host's {mount['Source']}"


def _network_faults(service: str, container: dict[str, Any]) -> Iterator[str]:
    published = [
        (port, binding["HostIp"])
        for port, bindings in (container["HostConfig"]["PortBindings"] or {}).items()
        for binding in bindings
    ]
    if published and service != PUBLISHER:
        yield f"publishes {published}"
    if any(address != "127.0.0.1" for _, address in published):
        yield f"publishes beyond loopback: {published}"
    environment = " ".join(container["Config"]["Env"])
    if service not in DATABASE_USERS and ("DB_PASSWORD" in environment or "postgresql://" in environment):
        yield "knows a database password"


if __name__ == "__main__":
    main()
