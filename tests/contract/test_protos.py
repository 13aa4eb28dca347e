"""The protos keep their own rules: lint, compatibility, comments, bindings, and stubs that match."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from taskforge.v1 import error_reason_pb2
from tests.support import protos
from tests.support.places import ROOT

_SERVICE_FIELD = descriptor_pb2.FileDescriptorProto.SERVICE_FIELD_NUMBER
_METHOD_FIELD = descriptor_pb2.ServiceDescriptorProto.METHOD_FIELD_NUMBER
_REASON = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """A method with its comment and its HTTP bindings."""

    package: str
    name: str  #: Service.Method
    comment: str
    bindings: tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def rpcs() -> list[Rpc]:
    return [rpc for file in protos.descriptors().file if file.package.startswith("taskforge.") for rpc in _rpcs(file)]


def _rpcs(file: descriptor_pb2.FileDescriptorProto) -> Iterator[Rpc]:
    comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for number, service in enumerate(file.service):
        for method_number, method in enumerate(service.method):
            rule = method.options.Extensions[annotations_pb2.http]
            rules = [each for each in [rule, *rule.additional_bindings] if each.WhichOneof("pattern")]
            yield Rpc(
                package=file.package,
                name=f"{service.name}.{method.name}",
                comment=comments.get((_SERVICE_FIELD, number, _METHOD_FIELD, method_number), ""),
                bindings=tuple(_binding(each) for each in rules),
            )


def _binding(rule: object) -> tuple[str, str]:
    verb = rule.WhichOneof("pattern")  # type: ignore[attr-defined]
    # `{name=runs/*}` and `{run}` match by their shape, not by their variable's name.
    template = re.sub(r"\{[a-z_.]+=([^}]*)\}", r"\1", getattr(rule, verb))
    return verb, re.sub(r"\{[a-z_.]+\}", "*", template)


def test_the_generated_stubs_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(protos.PROTO / "generate"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_buf_lint_has_nothing_to_say() -> None:
    assert protos.lint() == ""


def test_nothing_breaks_what_the_last_release_promised(tmp_path: Path) -> None:
    protos.build_image(tmp_path / "now.binpb")
    assert protos.breaking(tmp_path / "now.binpb") == ""


def test_the_kept_image_is_a_whole_release() -> None:
    """An empty or partial image would let every change pass."""
    kept = descriptor_pb2.FileDescriptorSet.FromString(protos.last_release().read_bytes())
    services = {service.name for file in kept.file if file.package.startswith("taskforge.") for service in file.service}
    assert {"RunService", "WorkflowService", "HookService", "SchedulerService"} <= services


def test_a_removed_field_is_found(tmp_path: Path) -> None:
    """The gate itself is proven: it speaks up when something is broken."""
    image = descriptor_pb2.FileDescriptorSet.FromString(protos.last_release().read_bytes())
    run = next(
        message
        for file in image.file
        if file.package == "taskforge.v1"
        for message in file.message_type
        if message.name == "Run"
    )
    removed = run.field.pop()
    (tmp_path / "broken.binpb").write_bytes(image.SerializeToString())
    assert removed.name in protos.breaking(tmp_path / "broken.binpb")


def test_no_two_methods_share_an_http_binding(rpcs: list[Rpc]) -> None:
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for rpc in rpcs:
        for binding in rpc.bindings:
            owners[binding].append(rpc.name)
    assert {binding: names for binding, names in owners.items() if len(names) > 1} == {}


def test_every_public_method_has_a_binding_and_no_internal_one_does(rpcs: list[Rpc]) -> None:
    assert [rpc.name for rpc in rpcs if bool(rpc.bindings) != (rpc.package == "taskforge.v1")] == []


def test_every_public_method_names_its_errors_and_its_idempotency(rpcs: list[Rpc]) -> None:
    public = [rpc for rpc in rpcs if rpc.package == "taskforge.v1"]
    assert [rpc.name for rpc in public if "Errors:" not in rpc.comment] == []
    said = re.compile("idempotent|a second call is", re.IGNORECASE)
    assert [rpc.name for rpc in public if not said.search(rpc.comment)] == []


def test_comments_name_only_reasons_that_exist(rpcs: list[Rpc]) -> None:
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    named = {rpc.name: set(_REASON.findall(rpc.comment.partition("Errors")[2])) for rpc in rpcs}
    assert {name: words - known for name, words in named.items() if words - known} == {}


def test_the_edge_publishes_no_internal_service() -> None:
    descriptors = ROOT / "services" / "taskforge" / "edge" / "descriptors.binpb"
    published = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    assert [file.name for file in published.file if "internal" in file.name] == []
