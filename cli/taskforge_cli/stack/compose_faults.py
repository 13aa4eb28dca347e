"""Why Compose has failed, as far as Docker can tell: images that it does not have, containers that do not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskforge_cli.stack.docker import Deployment, Docker
from taskforge_cli.stack.errors import DockerUnavailable, ImageMissing, StackError, StartFailed


def explain(programs: Docker, deployment: Deployment, failure: StackError) -> StackError:
    """The error that says more than that Compose has failed, or that one."""
    try:
        missing = _missing(programs, deployment)
        found = programs.containers(deployment.project)
    except DockerUnavailable:
        return failure
    if missing:
        variables = ", ".join(f"{variable}=NAME" for variable in missing.values())
        return ImageMissing(
            f"Docker does not have all images, and Compose could not pull or build them: {', '.join(missing)}",
            hint=f"what Compose wrote says why; to use other images, set {variables} in {deployment.env_file}",
        )
    return started_badly({each.name: each.fault for each in found}) or failure


def started_badly(faults: Mapping[str, str]) -> StartFailed | None:
    """The error about the containers that have a fault, if one has."""
    found = {name: fault for name, fault in faults.items() if fault}
    if not found:
        return None
    lines = [f"{name} does not start: {fault}" for name, fault in found.items()]
    return StartFailed("\n".join(lines), hint=f"taskforge logs {' '.join(found)}")


def _missing(programs: Docker, deployment: Deployment) -> dict[str, str]:
    """Images that Docker does not have, each with the variable that names another."""
    import yaml

    services: Mapping[str, Any] = yaml.safe_load(programs.ask_compose(deployment, "config"))["services"]
    wanted: dict[str, str] = {}
    # The services share the image that one of them builds.
    for name, service in sorted(services.items(), key=lambda item: "build" not in item[1]):
        variable = "TASKFORGE_BASE_IMAGE" if "build" in service else f"TASKFORGE_{name.upper()}_IMAGE"
        wanted.setdefault(str(service["image"]), variable)
    return {image: variable for image, variable in wanted.items() if not _has(programs, image)}


def _has(programs: Docker, image: str) -> bool:
    try:
        programs.ask("image", "inspect", "--format={{.Id}}", image)
    except DockerUnavailable:
        return False
    return True
