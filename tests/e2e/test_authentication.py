"""Nobody without a token gets anything, and nothing but the public API is there to be asked."""

from __future__ import annotations

from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from taskforge.internal.v1 import scheduler_service_pb2
from taskforge.v1 import (
    dead_letter_service_pb2,
    run_service_pb2,
    schedule_service_pb2,
    secret_service_pb2,
    system_service_pb2,
    webhook_service_pb2,
    workflow_service_pb2,
)
from tests.support.api import Api, error_of
from tests.support.stack import Stack

_PUBLIC = (
    dead_letter_service_pb2,
    run_service_pb2,
    schedule_service_pb2,
    secret_service_pb2,
    system_service_pb2,
    webhook_service_pb2,
    workflow_service_pb2,
)


def methods(*modules: object) -> list[MethodDescriptor]:
    """Every method of every service."""
    files = [module.DESCRIPTOR for module in modules]  # type: ignore[attr-defined]  # generated
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


async def refusal(api: Api, method: MethodDescriptor, token: str | None) -> grpc.aio.AioRpcError:
    """Call a method with an empty request; it must fail."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = () if token is None else (("authorization", token),)
    empty: Any = b""
    try:
        if method.server_streaming:
            async for _ in api.channel.unary_stream(path)(empty, metadata=metadata, timeout=10):
                pass
        else:
            await api.channel.unary_unary(path)(empty, metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"{path} was answered")


@pytest.mark.parametrize("method", methods(*_PUBLIC), ids=lambda method: f"{method.full_name}")
async def test_no_method_answers_without_a_valid_token(method: MethodDescriptor, api: Api, stack: Stack) -> None:
    for token in (None, "", "Bearer", stack.token, f"Basic {stack.token}", f"Bearer {stack.token},"):
        error = await refusal(api, method, token)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED, f"{token!r} was answered {error.code()}"
        assert error_of(error).reason == "TOKEN_INVALID"


@pytest.mark.parametrize("module", _PUBLIC, ids=lambda module: module.__name__.rpartition(".")[2])
async def test_a_wrong_token_opens_no_service(module: Any, api: Api, stack: Stack) -> None:
    """Once a service: the gateway lets nobody try for long."""
    error = await refusal(api, methods(module)[0], f"Bearer {stack.token}x")
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_of(error).reason == "TOKEN_INVALID"


@pytest.mark.parametrize("method", methods(scheduler_service_pb2), ids=lambda method: method.name)
async def test_internal_methods_are_not_there(method: MethodDescriptor, api: Api, stack: Stack) -> None:
    error = await refusal(api, method, f"Bearer {stack.token}")
    assert error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/runs"),
        ("GET", "/v1/workflows"),
        ("GET", "/v1/secrets"),
        ("GET", "/v1/status"),
        ("GET", "/v1/runs/0198/events"),
        ("POST", "/v1/workflows/x:start"),
        ("PUT", "/v1/secrets/X"),
        ("DELETE", "/v1/workflows/x"),
    ],
)
async def test_http_without_a_token_is_401(method: str, path: str, anyone: aiohttp.ClientSession) -> None:
    body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
    for headers in ({}, {"Authorization": "Bearer wrong,"}, {"Authorization": "Basic YWRtaW46YWRtaW4="}):
        async with anyone.request(method, path, headers=headers, json=body) as answer:
            refused = await answer.json()
        assert answer.status == 401
        assert refused["code"] == 16
        assert refused["details"][0]["reason"] == "TOKEN_INVALID"


async def test_two_tokens_are_not_one(anyone: aiohttp.ClientSession, stack: Stack) -> None:
    """A proxy and a service could disagree on which of them counts."""
    headers = [("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {stack.token}")]
    async with anyone.get("/v1/runs", headers=headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("path", ["/stats", "/config_dump", "/taskforge.internal.v1.SchedulerService/StartRuns"])
async def test_nothing_else_is_behind_the_public_port(path: str, http: aiohttp.ClientSession) -> None:
    for method in ("GET", "POST"):
        async with http.request(method, path) as answer:
            assert answer.status in (404, 415)
