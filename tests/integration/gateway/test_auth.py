"""Nobody gets in without a valid token, whichever door they try."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from taskforge.edge.render import GATEWAY_SERVICES
from taskforge.gateway.guesses import PER_MINUTE
from taskforge.security import tokens
from tests.support.engine import Engine
from tests.support.gateway import Api, Platform, Refusal
from tests.support.methods import methods, path_of
from tests.support.waiting import eventually


async def call(channel: grpc.aio.Channel, path: str, streams: bool, metadata: Any) -> None:
    """Call a method with an empty message; every one of them parses as any request."""
    stream: Any = channel.unary_stream(path)
    unary: Any = channel.unary_unary(path)
    if streams:
        await anext(aiter(stream(b"", metadata=metadata, timeout=10)))
    else:
        await unary(b"", metadata=metadata, timeout=10)


async def refusal_of(channel: grpc.aio.Channel, path: str, streams: bool, metadata: Any) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(channel, path, streams, metadata)
    return Refusal(raised.value)


async def test_every_method_of_the_public_api_needs_a_token(api: Api) -> None:
    listed = list(methods(GATEWAY_SERVICES))
    assert len(listed) > 20
    for method in listed:
        path = path_of(method)
        refusal = await refusal_of(api.channel, path, method.server_streaming, ())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"), path
        assert "authorization: Bearer" in refusal.metadata["hint"]


STATUS = "/taskforge.v1.SystemService/GetStatus"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Basic {token}",
        "{token}",
        "Bearer {token} {token}",
        "Bearer {token},",
        "Bearer x{token}",
        "Bearer tf_" + "A" * 43,
        "Bearer " + "A" * 4000,
    ],
)
async def test_whatever_is_no_valid_token_is_refused(api: Api, platform: Platform, header: str) -> None:
    metadata = (("authorization", header.format(token=platform.admin_token)),)
    refusal = await refusal_of(api.channel, STATUS, False, metadata)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert platform.admin_token not in refusal.message


async def test_two_authorization_headers_are_none(api: Api) -> None:
    refusal = await refusal_of(api.channel, STATUS, False, api.metadata + api.metadata)
    assert refusal.reason == "TOKEN_INVALID"


async def test_the_scheme_is_read_as_http_reads_it(api: Api, platform: Platform) -> None:
    await call(api.channel, STATUS, False, (("authorization", f"bearer {platform.admin_token}"),))


async def test_the_internal_token_does_not_open_the_public_api(api: Api, platform: Platform) -> None:
    metadata = (("authorization", f"Bearer {platform.internal_token}"),)
    assert (await refusal_of(api.channel, STATUS, False, metadata)).reason == "TOKEN_INVALID"


async def test_a_token_works_soon_after_it_is_made_and_stops_soon_after_it_is_revoked(api: Api, engine: Engine) -> None:
    token = tokens.generate()
    metadata = (("authorization", f"Bearer {token}"),)
    await engine.execute("INSERT INTO tokens (name, digest) VALUES ('ci', $1)", tokens.digest(token))

    async def works() -> None:
        try:
            await call(api.channel, STATUS, False, metadata)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(str(error.details())) from error

    async def refused() -> None:
        try:
            await call(api.channel, STATUS, False, metadata)
        except grpc.aio.AioRpcError:
            return
        raise AssertionError("it still works")

    await eventually(works)
    await engine.execute("UPDATE tokens SET revoked_at = clock_timestamp() WHERE name = 'ci'")
    await eventually(refused)


async def wrong_token(api: Api, address: str) -> Refusal:
    """Try a token that does not exist, as the edge would pass it on from an address."""
    metadata = (("authorization", f"Bearer {tokens.generate()}"), ("x-envoy-external-address", address))
    return await refusal_of(api.channel, STATUS, False, metadata)


async def test_who_shows_too_many_wrong_tokens_is_told_to_wait(api: Api) -> None:
    refusals = [await wrong_token(api, "192.0.2.1") for _ in range(PER_MINUTE + 5)]
    assert [refusal.reason for refusal in refusals[:PER_MINUTE]] == ["TOKEN_INVALID"] * PER_MINUTE
    for refusal in refusals[PER_MINUTE:]:
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "AUTHENTICATION_THROTTLED")
        assert 0 < refusal.retry.retry_delay.seconds < 60
    assert (await wrong_token(api, "192.0.2.2")).reason == "TOKEN_INVALID"


async def test_a_right_token_is_never_held_up_by_wrong_ones_from_the_same_address(api: Api) -> None:
    address = ("x-envoy-external-address", "192.0.2.1")
    for _ in range(PER_MINUTE + 5):
        await wrong_token(api, "192.0.2.1")
        await call(api.channel, STATUS, False, (*api.metadata, address))
    assert (await wrong_token(api, "192.0.2.1")).reason == "AUTHENTICATION_THROTTLED"


async def test_no_header_of_the_caller_gives_it_a_new_allowance(api: Api) -> None:
    """The edge overwrites the one header that counts; nothing else does."""
    reasons = []
    for number in range(PER_MINUTE + 5):
        forged = (("x-forwarded-for", f"192.0.2.{number}"), ("x-real-ip", f"192.0.2.{number}"))
        wrong = ("authorization", f"Bearer {tokens.generate()}")
        metadata = (wrong, *forged, ("x-envoy-external-address", "192.0.2.1"))
        reasons.append((await refusal_of(api.channel, STATUS, False, metadata)).reason)
    assert reasons[PER_MINUTE:] == ["AUTHENTICATION_THROTTLED"] * 5


async def test_a_call_without_a_token_guesses_nothing_and_does_not_count(api: Api) -> None:
    for _ in range(PER_MINUTE + 5):
        assert (await refusal_of(api.channel, STATUS, False, ())).reason == "TOKEN_INVALID"


async def test_a_new_admin_token_takes_the_place_of_the_old_one(platform: Platform, engine: Engine) -> None:
    async with platform.gateway():
        pass
    renewed = Platform.over(platform.folder, platform.database)
    async with renewed.gateway() as api:
        await call(api.channel, STATUS, False, api.metadata)
        old = (("authorization", f"Bearer {platform.admin_token}"),)
        assert (await refusal_of(api.channel, STATUS, False, old)).reason == "TOKEN_INVALID"
    [row] = await engine.fetch("SELECT name, digest FROM tokens")
    assert (row["name"], row["digest"]) == ("admin", tokens.digest(renewed.admin_token))


async def test_health_needs_no_token(api: Api) -> None:
    answer = await health_pb2_grpc.HealthStub(api.channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_an_unknown_method_is_unimplemented(api: Api) -> None:
    refusal = await refusal_of(api.channel, "/taskforge.v1.RunService/Nope", False, api.metadata)
    assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
