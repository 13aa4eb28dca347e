"""What becomes of one webhook request."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from taskforge.security.webhook_schemes import scheme_named
from taskforge.v1 import hook_service_pb2, webhook_service_pb2
from tests.support.gateway import Api, Platform
from tests.support.hooks import Sender, as_json, run_of, set_secret, webhook_path
from tests.support.waiting import eventually


async def test_a_signed_delivery_starts_a_run_with_its_inputs(sender: Sender) -> None:
    answer = await sender.post(query="a=1&b=2&b=3", headers={"x-github-event": "push"})

    assert answer.verdict == "accepted"
    run = (await sender.runs())[run_of(answer)]
    assert as_json(run["inputs"]) == {"branch": "refs/heads/main", "urgent": False}
    assert (run["cause_kind"], run["cause_trigger"], run["cause_id"]) == ("webhook", "push", answer.delivery)
    seen = as_json(run["trigger"])
    assert (seen["type"], seen["id"], seen["method"]) == ("webhook", "push", "POST")
    assert seen["body"] == {"ref": "refs/heads/main"}
    assert seen["query"] == {"a": "1", "b": ["2", "3"]}
    assert seen["headers"]["x-github-event"] == "push"
    assert seen["headers"]["content-type"] == "application/json"


async def test_the_delivery_is_kept_and_becomes_accepted(sender: Sender, api: Api) -> None:
    answer = await sender.post()

    async def accepted() -> None:
        assert await sender.verdicts() == ["ACCEPTED"]

    await eventually(accepted)
    listed = await api.call(
        api.webhooks.ListDeliveries,
        webhook_service_pb2.ListDeliveriesRequest(parent="workflows/deploy/webhooks/push"),
    )
    [delivery] = listed.deliveries
    assert delivery.run == answer.run
    assert delivery.body_bytes == len(b'{"ref": "refs/heads/main"}')


async def test_the_second_delivery_with_the_same_id_answers_with_the_first_run(sender: Sender) -> None:
    first = await sender.post(headers={"x-github-delivery": "one"})
    second = await sender.post(headers={"x-github-delivery": "one"})
    other = await sender.post(headers={"x-github-delivery": "two"})

    assert [first.verdict, second.verdict, other.verdict] == ["accepted", "duplicate", "accepted"]
    assert second.run == first.run
    assert second.delivery != first.delivery
    assert set(await sender.runs()) == {run_of(first), run_of(other)}


async def test_a_filtered_delivery_is_kept_and_starts_nothing(sender: Sender) -> None:
    answer = await sender.post(body=b'{"ref": "refs/heads/ignored"}')
    assert (answer.verdict, answer.run) == ("filtered", "")
    assert await sender.verdicts() == ["FILTERED"]
    assert await sender.runs() == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"ref": 7}', "branch"),
        (b"{}", "ref"),
        (b"no json", "is not"),
        (b'{"ref": "\\u0000"}', "NUL"),
        (b'{"ref": "\\ud800"}', "surrogate"),
        (b'{"ref": NaN}', "nan"),
        (b"[" * 100_000, "JSON"),
        (b'{"ref": "\xff"}', "JSON"),
    ],
)
async def test_what_gives_no_inputs_is_refused_and_kept(sender: Sender, body: bytes, message: str) -> None:
    refusal = await sender.refused(body=body)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DELIVERY_UNPROCESSABLE")
    [kept] = await sender.deliveries()
    assert (kept["verdict"], kept["body"]) == ("UNPROCESSABLE", body)
    assert message.lower() in kept["message"].lower()
    assert await sender.runs() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"signature_scheme": None},
        {"secret": "another"},
        {"headers": {"x-hub-signature-256": "sha256=" + "0" * 64}},
        {"headers": {"x-hub-signature-256": "garbage"}},
        {"headers": {"x-hub-signature-256": ""}},
    ],
    ids=["unsigned", "wrong secret", "wrong digest", "garbage", "empty"],
)
async def test_every_bad_signature_gets_the_same_answer(sender: Sender, changes: dict[str, Any]) -> None:
    refusal = await sender.refused(**changes)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SIGNATURE_MISMATCH")
    assert refusal.message == "the delivery's signature is missing or wrong"
    assert dict(refusal.info.metadata) == {}
    assert await sender.verdicts() == ["BAD_SIGNATURE"]
    assert await sender.runs() == {}


async def test_a_flood_of_bad_signatures_does_not_fill_the_disk(sender: Sender) -> None:
    for _ in range(15):
        await sender.refused(body=b"x" * 100_000, secret="another")
    kept = await sender.deliveries()
    assert len(kept) == 10
    assert {len(row["body"]) for row in kept} == {16 * 1024}
    assert "of 100000 bytes" in kept[0]["message"]


async def test_a_wrong_key_and_an_unknown_path_look_alike(sender: Sender) -> None:
    path = sender.path
    refusals = []
    for wrong in (path[:-1] + "~", "/hooks/deploy/none/key", "/hooks/none/push/key", "/hooks/de\0ploy/push/ü"):
        sender.path = wrong
        refusals.append(await sender.refused())
    assert {(refusal.code, refusal.reason, refusal.message) for refusal in refusals} == {
        (grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND", "there is no such webhook")
    }
    assert await sender.deliveries() == []


async def test_the_largest_body_is_taken_and_a_larger_one_is_not(sender: Sender) -> None:
    room = 1024 * 1024 - len(b'{"ref": ""}')
    refusal = await sender.refused(body=b'{"ref": "' + b"a" * (room + 1) + b'"}')
    assert refusal.reason == "BODY_TOO_LARGE"
    # What a run sees of it has a limit of its own, and headers are a part of that.
    answer = await sender.post(body=b'{"ref": "' + b"a" * (room - 2_000) + b'"}')
    assert answer.verdict == "accepted"


async def test_secrets_in_headers_are_neither_kept_nor_shown(sender: Sender) -> None:
    secret = {"authorization": "Bearer abc", "x-api-key": "abc", "cookie": "a=abc", "x-gitlab-token": "abc"}
    answer = await sender.post(headers={**secret, "x-event-key": "repo:push", "x-envoy-internal": "abc"})
    [kept] = await sender.deliveries()
    assert "abc" not in kept["headers"]
    assert as_json(kept["headers"])["x-event-key"] == "repo:push"
    assert "abc" not in (await sender.runs())[run_of(answer)]["trigger"]
    # The path holds the webhook's key.
    assert sender.path not in kept["headers"]


async def test_nothing_else_is_open(sender: Sender, platform: Platform) -> None:
    async with grpc.aio.insecure_channel(f"unix:{platform.folder}/ingest.sock") as channel:
        call: Any = channel.unary_unary(
            "/taskforge.v1.HookService/Other",
            request_serializer=hook_service_pb2.ReceiveHookRequest.SerializeToString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(hook_service_pb2.ReceiveHookRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_change_of_the_definition_is_seen_within_a_second(sender: Sender, api: Api) -> None:
    await sender.post()
    await api.apply(
        """
name: deploy
triggers:
  - id: push
    webhook: {verify: {scheme: none}}
steps:
  - {id: say, log: "hello"}
"""
    )

    async def is_open() -> None:
        try:
            answer = await sender.post(signature_scheme=None, body=b"", content_type="")
        except grpc.aio.AioRpcError as error:
            raise AssertionError(error.details()) from error
        assert answer.verdict == "accepted"

    await eventually(is_open, within=3)


async def test_a_secret_that_is_missing_lets_nobody_in(sender: Sender) -> None:
    await sender.execute("DELETE FROM secrets")
    refusal = await sender.refused()
    assert refusal.reason == "SIGNATURE_MISMATCH"
    [kept] = await sender.deliveries()
    assert kept["message"] == "no_usable_secret"


async def test_a_token_in_a_header_of_its_own_is_hidden(platform: Platform, api: Api, sender: Sender) -> None:
    await set_secret(api, "PASS", "open sesame")
    await api.apply(
        """
name: guarded
triggers:
  - id: door
    webhook:
      verify: {scheme: token, secret: PASS, header: x-knock}
      dedupe: {key: "${{ trigger.body.id }}", ttl: 1h}
steps:
  - {id: say, log: "hello"}
"""
    )
    sender.path = await webhook_path(api, "door")
    knock: dict[str, Any] = {"signature_scheme": scheme_named("token", {"header": "x-knock"}), "secret": "open sesame"}
    answer = await sender.post(body=b'{"id": 5}', **knock)
    assert answer.verdict == "accepted"
    again = await sender.post(body=b'{"id": 5}', **knock)
    assert (again.verdict, again.run) == ("duplicate", answer.run)
    kept = await sender.deliveries()
    assert {row["dedupe_key"] for row in kept} == {"5"}
    assert "open sesame" not in kept[0]["headers"]
    assert "open sesame" not in json.dumps(as_json((await sender.runs())[run_of(answer)]["trigger"]))

    refusal = await sender.refused(body=b'{"id": null}', **knock)
    assert "the dedupe key is empty" in refusal.message
