"""The edge: a real Envoy with the product's configuration, before gRPC servers that tell what reached them."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import random
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import descriptor_pb2

from taskforge.domain.errors import NotFound, Unavailable
from taskforge.edge.render import (
    API_BODY_BYTES,
    GATEWAY_SERVICES,
    HOOK_BODY_BYTES,
    HOOK_SERVICE,
    EdgeSettings,
    Tls,
    descriptor_file,
    render,
)
from taskforge.runtime.server import Server
from taskforge.v1 import (
    hook_service_pb2,
    hook_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)
from taskforge_cli.stack import edge, install
from tests.support.places import clean_environment, free_port
from tests.support.processes import Process


class Hooks(hook_service_pb2_grpc.HookServiceServicer):
    async def ReceiveHook(self, request: Any, context: Any) -> Any:  # noqa: N802
        told = {"sha256": hashlib.sha256(request.body.data).hexdigest(), "type": request.body.content_type}
        return hook_service_pb2.ReceiveHookResponse(
            verdict=json.dumps(told), run=request.key, delivery=json.dumps(dict(context.invocation_metadata()))
        )


class Runs(run_service_pb2_grpc.RunServiceServicer):
    async def GetRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name == "runs/none":
            raise NotFound("RUN_NOT_FOUND", "there is no run 'none'", hint="taskforge run list")
        if request.name == "runs/later":
            raise Unavailable("STORE_UNAVAILABLE", "later", retry_after=2.5)
        return run_pb2.Run(name=request.name)

    async def StartRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        return run_pb2.Run(name=request.workflow)

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        if request.name == "runs/none":
            raise NotFound("RUN_NOT_FOUND", "there is no run 'none'")
        for _ in range(3):
            yield run_service_pb2.WatchRunResponse(run=run_pb2.Run(name=request.name))


class System(system_service_pb2_grpc.SystemServiceServicer):
    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        size = int(metadata.get("x-size", 0))
        return system_service_pb2.Status(version="a" * size if size else json.dumps(metadata))


def nobody_asks(_method: str, _metadata: Any) -> str:
    return "anybody"


class Answer:
    """An HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.content_type = response.getheader("content-type", "")
        self.retry_after = response.getheader("retry-after")
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        assert self.content_type.startswith("application/json"), (self.status, self.body)
        assert set(self.json) == {"code", "message", "details"}
        return str(self.json["details"][0]["reason"])


class Edge:
    """A running Envoy."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.gateway, self.ingest = f"unix:{folder}/gateway.sock", f"unix:{folder}/ingest.sock"
        self.admin = folder / "admin.sock"
        file = folder / "envoy.yaml"
        backends = edge.Backends(gateway=self.gateway, ingest=self.ingest)
        assert edge.write_configuration(file, port, self.admin, backends)
        assert not edge.write_configuration(file, port, self.admin, backends)
        command = edge.server_command(install.locate().envoy, file)
        self.process = Process(command, log=folder / "envoy.log", env=clean_environment())
        self.process.ready_when(lambda: edge.answers(self.admin))

    async def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await asyncio.to_thread(self._call, method, path, body, headers or {})

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            sent = {"content-length": str(len(body))} if body is not None else {}
            for name, value in {**sent, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            return Answer(connection.getresponse())

    @property
    def log(self) -> str:
        """What Envoy has written; complete once it has ended."""
        return self.process.output()


@pytest.fixture
async def door(folder: Path) -> AsyncIterator[Edge]:
    found = Edge(folder, free_port())
    gateway, ingest = Server(found.gateway, nobody_asks), Server(found.ingest, nobody_asks)
    run_service_pb2_grpc.add_RunServiceServicer_to_server(Runs(), gateway.services)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(System(), gateway.services)
    hook_service_pb2_grpc.add_HookServiceServicer_to_server(Hooks(), ingest.services)
    await gateway.start()
    await ingest.start()
    try:
        yield found
    finally:
        found.process.terminate()
        await gateway.stop(0)
        await ingest.stop(0)


@pytest.fixture
async def channel(door: Edge) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{door.port}") as found:
        yield found


async def test_json_has_the_protos_names_and_every_field(door: Edge) -> None:
    answer = await door.call("GET", "/v1/runs/abc")
    assert answer.status == 200
    assert answer.json["name"] == "runs/abc"
    assert answer.json["steps"] == []
    assert answer.json["state"] == "STATE_UNSPECIFIED"
    assert not [name for name in answer.json if name != name.lower()]


async def test_an_error_of_a_service_arrives_with_its_details(door: Edge) -> None:
    answer = await door.call("GET", "/v1/runs/none")
    assert (answer.status, answer.reason) == (404, "RUN_NOT_FOUND")
    assert answer.json["code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert answer.json["details"][0]["metadata"] == {"hint": "taskforge run list"}


async def test_an_error_that_passes_says_when_to_come_back(door: Edge) -> None:
    answer = await door.call("GET", "/v1/runs/later")
    assert (answer.status, answer.reason, answer.retry_after) == (503, "STORE_UNAVAILABLE", "3")
    assert (await door.call("GET", "/v1/runs/none")).retry_after is None


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("GET", "/", None, 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v1/nothing", None, 404, "ROUTE_NOT_FOUND"),
        ("DELETE", "/v1/status", None, 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v1/runs/abc?nmae=x", None, 400, "REQUEST_INVALID"),
        ("POST", "/v1/workflows/w:start", b"{bad", 400, "REQUEST_INVALID"),
        ("GET", "/v1/..%2f..%2fetc", None, 400, "REQUEST_INVALID"),
        ("POST", "/taskforge.v1.RunService/GetRun", b"{}", 404, "ROUTE_NOT_FOUND"),
        ("POST", "/taskforge.internal.v1.SchedulerService/StartRuns", b"{}", 404, "ROUTE_NOT_FOUND"),
        ("GET", "/hooks/w/t/key", None, 404, "ROUTE_NOT_FOUND"),
        ("POST", "/hooks/w/t", b"", 404, "ROUTE_NOT_FOUND"),
        ("POST", "/v1/workflows/w:start", b" " * (API_BODY_BYTES + 1), 413, "BODY_TOO_LARGE"),
        ("POST", "/hooks/w/t/key", b"a" * (HOOK_BODY_BYTES + 1), 413, "BODY_TOO_LARGE"),
    ],
)
async def test_what_the_edge_refuses_has_the_shape_of_every_error(
    door: Edge, method: str, path: str, body: bytes | None, status: int, reason: str
) -> None:
    answer = await door.call(method, path, body)
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.json["message"]
    assert all(isinstance(value, str) for value in answer.json["details"][0]["metadata"].values())


async def test_the_edge_says_that_it_lives(door: Edge) -> None:
    assert (await door.call("GET", "/healthz")).body == b"ok\n"


async def test_a_stream_arrives_as_server_sent_events(door: Edge) -> None:
    answer = await door.call("GET", "/v1/runs/abc:watch")
    assert answer.content_type == "text/event-stream"
    events = [json.loads(part.removeprefix(b"data: ")) for part in answer.body.split(b"\n\n") if part.strip()]
    assert [event["run"]["name"] for event in events] == ["runs/abc"] * 3
    assert (await door.call("GET", "/v1/runs/none:watch")).reason == "RUN_NOT_FOUND"


async def test_webhook_bodies_arrive_byte_for_byte(door: Edge) -> None:
    dice = random.Random(7610)
    bodies = [dice.randbytes(dice.choice([0, 1, 63, 1024, 70_000, 900_000])) for _ in range(40)]
    bodies += [b'{"a": 1,  "a": 2}', b"\xff\xfe\x00", dice.randbytes(HOOK_BODY_BYTES)]
    for number, body in enumerate(bodies):
        headers = {"content-type": f"application/x-{number}", "content-encoding": "gzip"}
        answer = await door.call("POST", f"/hooks/w/t/key{number}?challenge={number}&a=%2F", body, headers)
        assert answer.status == 200, answer.body
        told = json.loads(answer.json["verdict"])
        assert told == {"sha256": hashlib.sha256(body).hexdigest(), "type": f"application/x-{number}"}
        metadata = json.loads(answer.json["delivery"])
        assert answer.json["run"] == f"key{number}"
        assert metadata["x-envoy-original-path"] == f"/hooks/w/t/key{number}?challenge={number}&a=%2F"
        assert metadata["content-encoding"] == "gzip"


async def test_headers_that_envoy_would_obey_and_forged_ones_do_not_get_in(door: Edge) -> None:
    forged = {"x-envoy-retry-on": "5xx", "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-original-path": "/forged"}
    forged |= {"x-request-id": "forged", "x_under_score": "1", "x-envoy-internal": "true"}
    metadata = json.loads((await door.call("GET", "/v1/status", headers=forged)).json["version"])
    assert metadata["x-envoy-original-path"] == "/v1/status"
    assert metadata["x-request-id"] != "forged"
    assert not {"x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms", "x_under_score", "x-envoy-internal"} & set(
        metadata
    )


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-envoy-external-address", "x-real-ip", "forwarded"])
async def test_callers_cannot_say_who_they_are(door: Edge, name: str) -> None:
    metadata = json.loads((await door.call("GET", "/v1/status", headers={name: "192.0.2.7"})).json["version"])
    assert metadata["x-envoy-external-address"] == "127.0.0.1"


async def test_paths_are_made_canonical_before_they_are_matched(door: Edge) -> None:
    assert (await door.call("GET", "//v1/./x/..//runs/abc")).json["name"] == "runs/abc"


async def test_a_large_answer_arrives_whole(door: Edge) -> None:
    answer = await door.call("GET", "/v1/status", headers={"x-size": "20000000"})
    assert len(answer.json["version"]) == 20_000_000


async def test_native_grpc_is_served_on_the_same_port(channel: grpc.aio.Channel) -> None:
    stub = run_service_pb2_grpc.RunServiceStub(channel)
    assert (await stub.GetRun(run_service_pb2.GetRunRequest(name="runs/abc"))).name == "runs/abc"
    assert len([item async for item in stub.WatchRun(run_service_pb2.WatchRunRequest(name="runs/abc"))]) == 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetRun(run_service_pb2.GetRunRequest(name="runs/none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "there is no run 'none'"


@pytest.mark.parametrize(
    "method",
    [
        "/taskforge.internal.v1.SchedulerService/StartRuns",
        "/taskforge.v1./../taskforge.internal.v1.SchedulerService/StartRuns",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_what_is_not_public_cannot_be_reached_by_grpc(channel: grpc.aio.Channel, method: str) -> None:
    call: Any = channel.unary_unary(method)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_too_large_has_a_code_that_grpc_callers_know(channel: grpc.aio.Channel) -> None:
    request = run_service_pb2.StartRunRequest(workflow="w" * (API_BODY_BYTES + 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_service_pb2_grpc.RunServiceStub(channel).StartRun(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_service_that_is_down_is_told_without_its_address(folder: Path) -> None:
    door = Edge(folder, free_port())
    try:
        answer = await door.call("GET", "/v1/status")
        assert (answer.status, answer.reason) == (503, "SERVICE_UNAVAILABLE")
        assert b".sock" not in answer.body
    finally:
        door.process.terminate()


class Stopping(hook_service_pb2_grpc.HookServiceServicer):
    """Ends two calls as gRPC ends those that no handler has seen, and then serves."""

    def __init__(self) -> None:
        self.calls = 0

    async def ReceiveHook(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        if self.calls <= 2:
            await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return hook_service_pb2.ReceiveHookResponse(verdict=request.body.data.decode())


async def test_a_request_that_a_stopping_service_has_not_begun_is_sent_again(folder: Path) -> None:
    door = Edge(folder, free_port())
    hooks, ingest = Stopping(), grpc.aio.server()
    hook_service_pb2_grpc.add_HookServiceServicer_to_server(hooks, ingest)
    ingest.add_insecure_port(door.ingest)
    await ingest.start()
    try:
        answer = await door.call("POST", "/hooks/w/t/key", b"body")
        assert (answer.status, answer.json["verdict"], hooks.calls) == (200, "body", 3)
    finally:
        door.process.terminate()
        await ingest.stop(0)


async def test_the_access_log_holds_no_query_and_no_webhook_key(door: Edge) -> None:
    await door.call("GET", "/v1/status?secret-query=1")
    for path in ("/hooks/w/t/secret-key?secret-query=1", "/hooks/w/t/x/secret-key"):
        await door.call("POST", path, b"secret-body")
    door.process.terminate()
    lines = [json.loads(line) for line in door.log.splitlines() if line.startswith("{")]
    assert [line.get("path") for line in lines] == ["/v1/status", None, None]
    assert {"status", "duration_ms", "request_id", "method", "client"} <= set(lines[1])
    assert "secret" not in door.log


async def test_two_edges_cannot_share_a_port(door: Edge, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    file = other / "envoy.yaml"
    backends = edge.Backends(gateway=door.gateway, ingest=door.ingest)
    edge.write_configuration(file, door.port, other / "admin.sock", backends)
    command = edge.server_command(install.locate().envoy, file)
    process = Process(command, log=other / "log", env=clean_environment())
    assert process.wait() != 0
    assert "Address already in use" in process.output()


async def test_a_killed_edge_starts_again_over_its_old_sockets(door: Edge, folder: Path) -> None:
    door.process.kill()
    assert door.admin.exists()
    again = Process(door.process.command, log=folder / "again.log", env=clean_environment())
    try:
        again.ready_when(lambda: edge.answers(door.admin))
        assert (await door.call("GET", "/v1/runs/abc")).status == 200
    finally:
        again.terminate()


def test_the_same_template_serves_host_names_and_tls(folder: Path) -> None:
    certificate, key = self_signed(folder)
    settings = EdgeSettings(
        listen="0.0.0.0:7610",
        admin="127.0.0.1:9901",
        gateway="gateway:7611",
        ingest="ingest:7613",
        tls=Tls(certificate=certificate, key=key),
        health_check_seconds=5,
    )
    file = folder / "envoy.yaml"
    file.write_text(render(settings))
    command = [str(install.locate().envoy), "--mode", "validate", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    rendered = yaml.safe_load(file.read_text())
    clusters = {cluster["name"]: cluster for cluster in rendered["static_resources"]["clusters"]}
    assert clusters["gateway"]["type"] == "STRICT_DNS"
    assert clusters["ingest"]["health_checks"][0]["grpc_health_check"] == {}


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge.test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


def test_values_cannot_break_out_of_their_place() -> None:
    settings = EdgeSettings(
        listen="127.0.0.1:1", admin='unix:/tmp/a"}}, evil: {$gateway', gateway="unix:/g", ingest="unix:/i"
    )
    rendered = yaml.safe_load(render(settings))
    assert rendered["admin"]["address"]["pipe"]["path"] == '/tmp/a"}}, evil: {$gateway'


def test_every_public_service_is_routed_and_every_stream_has_the_time_it_needs() -> None:
    descriptors = descriptor_pb2.FileDescriptorSet()
    descriptors.ParseFromString(descriptor_file().read_bytes())
    methods = {
        (f"{file.package}.{service.name}", method.name): method.server_streaming
        for file in descriptors.file
        if file.package.startswith("taskforge.")
        for service in file.service
        for method in service.method
    }
    assert {service for service, _ in methods} == {*GATEWAY_SERVICES, HOOK_SERVICE}
    rendered = yaml.safe_load(render(EdgeSettings(listen="h:1", admin="h:2", gateway="h:3", ingest="h:4")))
    listener = rendered["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = {route["name"]: route for route in manager["route_config"]["virtual_hosts"][0]["routes"]}
    streams = re.compile(routes["streams"]["match"]["safe_regex"]["regex"])
    for (service, method), streaming in methods.items():
        assert bool(streams.fullmatch(f"/{service}/{method}")) == streaming, method
