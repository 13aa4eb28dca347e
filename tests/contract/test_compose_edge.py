"""The edge's checked-in configuration for containers is what its template renders to, and fits the Compose file."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.support.places import ROOT


@pytest.fixture(scope="module")
def edge() -> Any:
    return yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services() -> Any:
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))["services"]


def test_the_configuration_is_what_the_template_renders_to() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy/envoy/render.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_admin_port_stays_inside_the_container(edge: Any) -> None:
    assert edge["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_the_edge_listens_where_compose_publishes(edge: Any, services: Any) -> None:
    (listener,) = edge["static_resources"]["listeners"]
    address = listener["address"]["socket_address"]
    (published,) = services["envoy"]["ports"]
    assert (address["address"], str(address["port_value"])) == ("0.0.0.0", published.rpartition(":")[2])


def test_each_cluster_is_where_its_service_listens(edge: Any, services: Any) -> None:
    clusters = {cluster["name"]: cluster for cluster in edge["static_resources"]["clusters"]}
    assert clusters.keys() == {"gateway", "ingest"}
    for name, cluster in clusters.items():
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        address = endpoint["address"]["socket_address"]
        port = services[name]["environment"]["TASKFORGE_LISTEN"].rpartition(":")[2]
        assert (address["address"], str(address["port_value"])) == (name, port)


def test_compose_mounts_what_the_configuration_reads(edge: Any, services: Any) -> None:
    mounted = {volume.split(":")[-2] for volume in services["envoy"]["volumes"]}
    read = {"/etc/envoy/envoy.yaml", *_values(edge, "proto_descriptor")}
    assert mounted == read


def _values(node: Any, key: str) -> set[str]:
    if isinstance(node, dict):
        found = {node[key]} if key in node else set()
        return found.union(*(_values(value, key) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_values(value, key) for value in node))
    return set()
