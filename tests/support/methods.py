"""The methods of the public API: of every service that the edge lets in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import cast

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from taskforge.edge.render import GATEWAY_SERVICES, HOOK_SERVICE

PUBLIC_SERVICES = tuple(sorted((*GATEWAY_SERVICES, HOOK_SERVICE)))

_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def methods(services: Iterable[str] = PUBLIC_SERVICES) -> Iterator[MethodDescriptor]:
    """Every method of some services, which are named in full: `taskforge.v1.RunService`."""
    for service in services:
        yield from _descriptor(service).methods


def path_of(method: MethodDescriptor) -> str:
    """Where gRPC sends a call: `/taskforge.v1.RunService/StartRun`."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _descriptor(service: str) -> ServiceDescriptor:
    """Of `taskforge.v1.RunService`, which `taskforge/v1/run_service_pb2.py` describes."""
    package, _, name = service.rpartition(".")
    module = import_module(f"{package}.{_INNER_CAPITAL.sub('_', name).lower()}_pb2")
    return cast("ServiceDescriptor", module.DESCRIPTOR.services_by_name[name])
