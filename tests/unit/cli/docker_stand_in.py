"""A program that answers as Docker with the Compose plugin does, from files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

AGE = timedelta(hours=1)  #: of every container
_SCRIPT = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
case "$1 $*" in
  ps\\ *) sed 's/.*/id/' "$here/containers" | head -n 1 ;;
  inspect\\ *) cat "$here/containers" ;;
  network\\ *) cat "$here/networks" ;;
  image\\ *) grep -qx "$4" "$here/images" || { echo "no such image: $4" >&2 && exit 1; } ;;
  compose*\\ config) cat "$here/config" ;;
  compose*\\ up\\ *) exit "$(cat "$here/up")" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class DockerStandIn:
    """The stand-in in its folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> DockerStandIn:
        folder.mkdir()
        made = cls(folder)
        made.write("docker", _SCRIPT).chmod(0o755)
        for name, text in {"containers": "", "networks": "", "images": "", "config": "services: {}", "up": "0"}.items():
            made.write(name, text)
        return made

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:/usr/bin:/bin"}

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def has(self, containers: Iterable[dict[str, Any]]) -> None:
        found = list(containers)
        self.write("containers", json.dumps(found) + "\n" if found else "")

    def fails_to_start(self, images: dict[str, str], *, present: Iterable[str] = ()) -> None:
        services = {name: {"image": image} for name, image in images.items()}
        self.write("config", yaml.safe_dump({"services": services}))
        self.write("images", "\n".join(present))
        self.write("up", "1")


def container(service: str, number: int = 1, *, status: str = "running", **state: Any) -> dict[str, Any]:
    """What `docker inspect` says of one; `Health` is not there without a health check."""
    port = state.pop("port", None)
    labels = {"com.docker.compose.service": service, "com.docker.compose.container-number": str(number)}
    started = (datetime.now(UTC) - AGE).isoformat(timespec="microseconds").replace("+00:00", "123Z")
    fresh = {"Status": status, "ExitCode": 0, "OOMKilled": False, "Error": "", "StartedAt": started}
    bound = {"7610/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] if port else None}
    return {
        "Id": f"{service}{number}",
        "Config": {"Labels": labels},
        "State": fresh | state,
        "NetworkSettings": {"Ports": bound},
    }
