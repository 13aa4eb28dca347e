"""Webhooks: who may start runs, what arrives, and that each delivery counts once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import os
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from taskforge.security.signatures import sign
from taskforge.security.webhook_schemes import HmacScheme, Scheme, TokenScheme, UnsignedScheme, scheme_named
from taskforge.v1.webhook_service_pb2 import Delivery, ListDeliveriesRequest
from tests.e2e.stories import Workflows
from tests.support.api import Api, plain, run_state, step_states
from tests.support.target import Answer, Target
from tests.support.waiting import eventually

#: The typical automation: look something up, reshape it, decide, tell somebody.
CHAIN = """
    name: $name
    inputs:
      repo: {type: string}
    triggers:
      - id: push
        webhook:
          verify: $verify
          if: ${{ trigger.body.ref == 'refs/heads/main' }}
        inputs: {repo: "${{ trigger.body.repo }}"}
    steps:
      - id: fetch
        http: {url: "$target/repos/${{ inputs.repo }}"}
      - id: summary
        transform: {input: "${{ steps.fetch.output.body }}", jq: "{tag: .tag_name, assets: [.assets[].name]}"}
      - id: route
        switch:
          - if: ${{ size(steps.summary.output.assets) > 0 }}
            steps:
              - id: announce
                http: {method: POST, url: "$target/chat", json: {text: "out: ${{ steps.summary.output.tag }}"}}
          - else:
            steps:
              - id: alert
                http: {method: POST, url: "$target/alert", json: {text: nothing to ship}}
    output: ${{ steps.summary.output.tag }}
"""
#: Takes whatever comes, and hands it out again.
ECHO = """
    name: $name
    inputs:
      body: {}
      query: {type: object}
    triggers:
      - id: any
        webhook: {verify: $verify}
        inputs: {body: "${{ trigger.body }}", query: "${{ trigger.query }}"}
    steps:
      - id: echo
        transform: {value: {body: "${{ inputs.body }}", query: "${{ inputs.query }}"}}
    output: ${{ steps.echo.output }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A way to prove who sends."""

    scheme: Scheme
    verify: str  #: as a workflow writes it; `$secret` is the secret's name
    secret: str = "a-secret-of-this-story"


SENDERS = {
    "standard": Sender(
        scheme=scheme_named("standard"),
        verify="{scheme: standard, secret: $secret}",
        secret="whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode(),
    ),
    "github": Sender(scheme=scheme_named("github"), verify="{scheme: github, secret: $secret}"),
    "hmac": Sender(
        scheme=HmacScheme(header="x-signature", prefix="v1=", timestamp_header="x-time"),
        verify="{scheme: hmac, secret: $secret, header: X-Signature, prefix: v1=, timestamp_header: X-Time}",
    ),
    "token": Sender(scheme=TokenScheme(), verify="{scheme: token, secret: $secret}"),
    "none": Sender(scheme=UnsignedScheme(), verify="{scheme: none}"),
}


#: The headers that prove something.
_PROOFS = ("webhook-signature", "x-hub-signature-256", "x-signature", "authorization")


async def hook_of(source: str, sender: Sender, api: Api, workflows: Workflows) -> tuple[str, str]:
    """Apply a workflow; its name and its webhook's path."""
    secret = await workflows.secret(sender.secret)
    name = await workflows.apply(source, verify=sender.verify.replace("$secret", secret))
    return name, await api.hook_path(name)


async def deliver(
    anyone: aiohttp.ClientSession, path: str, sender: Sender, body: bytes, *, delivery: str = "", **headers: str
) -> tuple[int, Any]:
    """Send a signed delivery; the status and the answer."""
    signed = sign(sender.scheme, body, sender.secret, time.time(), message_id=delivery or os.urandom(8).hex())
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with anyone.post(path, data=body, headers={"content-type": "application/json", **signed, **named}) as answer:
        return answer.status, await answer.json()


async def deliveries_of(api: Api, workflow: str) -> list[Delivery]:
    """What a workflow's webhook `any` got, newest first."""
    request = ListDeliveriesRequest(parent=f"workflows/{workflow}/webhooks/any")
    return list((await api.call(api.webhooks.ListDeliveries, request)).deliveries)


@pytest.mark.parametrize("scheme", SENDERS)
async def test_a_signed_webhook_runs_the_chain(
    scheme: str, api: Api, anyone: aiohttp.ClientSession, workflows: Workflows, target: Target
) -> None:
    target.answer("/repos/me/tool", Answer(json={"tag_name": "v2", "assets": [{"name": "a.zip"}]}))
    name, path = await hook_of(CHAIN, SENDERS[scheme], api, workflows)

    body = json.dumps({"ref": "refs/heads/main", "repo": "me/tool"}).encode()
    status, answer = await deliver(anyone, path, SENDERS[scheme], body)
    assert (status, answer["verdict"]) == (200, "accepted")

    run = await api.ended(answer["run"])
    assert plain(run.output) == "v2"
    assert step_states(run)["alert"] == "SKIPPED"
    assert [request.json() for request in target.on("/chat")] == [{"text": "out: v2"}]
    assert not target.on("/alert")

    status, answer = await deliver(anyone, path, SENDERS[scheme], b'{"ref": "refs/heads/other"}')
    assert (status, answer["verdict"]) == (200, "filtered")
    assert len(await api.runs_of(name)) == 1


@pytest.mark.parametrize("scheme", [scheme for scheme in SENDERS if scheme != "none"])
async def test_an_unsigned_webhook_is_refused_and_starts_nothing(
    scheme: str, api: Api, anyone: aiohttp.ClientSession, workflows: Workflows
) -> None:
    sender = SENDERS[scheme]
    name, path = await hook_of(CHAIN, sender, api, workflows)
    body = b'{"ref": "refs/heads/main", "repo": "me/tool"}'
    signed = sign(sender.scheme, body, sender.secret, time.time(), message_id="x")

    forged = {name: "v1=wrong" if name in _PROOFS else value for name, value in signed.items()}
    for headers in ({}, forged):
        async with anyone.post(path, data=body, headers={"content-type": "application/json", **headers}) as answer:
            refused = await answer.json()
        assert answer.status == 401
        assert refused["code"] == 16
        assert refused["details"][0]["reason"] == "SIGNATURE_MISMATCH"
        assert sender.secret not in json.dumps(refused)
    if scheme != "token":  # which proves who sends, not what
        async with anyone.post(
            path, data=body + b" ", headers={"content-type": "application/json", **signed}
        ) as answer:
            assert answer.status == 401
    assert await api.runs_of(name) == []


async def test_an_unknown_webhook_is_not_found(api: Api, anyone: aiohttp.ClientSession, workflows: Workflows) -> None:
    _, path = await hook_of(ECHO, SENDERS["none"], api, workflows)
    wrong_key = path.rpartition("/")[0] + "/wrong-key"
    for url in (wrong_key, "/hooks/nobody/push/key"):
        async with anyone.post(url, data=b"{}", headers={"content-type": "application/json"}) as answer:
            refused = await answer.json()
        assert answer.status == 404
        assert refused["details"][0]["reason"] == "WEBHOOK_NOT_FOUND"


async def test_a_delivery_that_comes_again_starts_one_run(
    api: Api, anyone: aiohttp.ClientSession, workflows: Workflows
) -> None:
    sender = SENDERS["github"]
    name, path = await hook_of(ECHO, sender, api, workflows)
    sent = [deliver(anyone, path, sender, b'{"n": 1}', delivery="delivery-1") for _ in range(20)]
    answers = await asyncio.gather(*sent)

    assert {status for status, _ in answers} == {200}
    assert {answer["run"] for _, answer in answers} == {answers[0][1]["run"]}
    verdicts = sorted(answer["verdict"] for _, answer in answers)
    assert verdicts == ["accepted", *["duplicate"] * 19]
    await deliver(anyone, path, sender, b'{"n": 2}', delivery="delivery-2")
    assert len(await api.runs_of(name)) == 2

    async def kept() -> None:
        deliveries = await deliveries_of(api, name)
        assert deliveries[0].verdict == Delivery.VERDICT_ACCEPTED  # noted down after the sender was answered
        assert deliveries[0].dedupe_key == "delivery-2"

    await eventually(kept)


ODD_BODIES = {
    "binary": bytes(range(256)) * 64,
    "empty": b"",
    "large": os.urandom(450_000).hex().encode(),
    "not quite UTF-8": b'{"a": "\xff\xfe"}',
    "spaces": b' {"a" : 1 }\r\n\r\n',
}


@pytest.mark.parametrize("kind", ODD_BODIES)
async def test_a_body_arrives_byte_for_byte(
    kind: str, api: Api, anyone: aiohttp.ClientSession, workflows: Workflows
) -> None:
    """The signature is over the raw bytes, so it only fits if every one of them arrived."""
    body = ODD_BODIES[kind]
    sender = SENDERS["github"]
    name, path = await hook_of(ECHO, sender, api, workflows)
    content_type = "application/octet-stream"
    status, answer = await deliver(anyone, f"{path}?a=1&b=%20x&b=y", sender, body, content_type=content_type)
    assert (status, answer["verdict"]) == (200, "accepted")

    output = plain((await api.ended(answer["run"])).output)
    assert output["query"] == {"a": "1", "b": [" x", "y"]}
    assert output["body"] == body.decode("utf-8", "replace").replace("\0", "\ufffd")
    assert (await deliveries_of(api, name))[0].body_bytes == len(body)


async def test_a_body_that_is_too_large_is_refused(
    api: Api, anyone: aiohttp.ClientSession, workflows: Workflows
) -> None:
    name, path = await hook_of(ECHO, SENDERS["none"], api, workflows)
    async with anyone.post(
        path, data=io.BytesIO(b"x" * (1024 * 1024 + 1)), headers={"content-type": "text/plain"}
    ) as answer:
        refused = await answer.json()
    assert answer.status == 413
    assert refused["details"][0]["reason"] == "BODY_TOO_LARGE"
    assert await api.runs_of(name) == []


async def test_a_delivery_that_does_not_fit_the_inputs_is_told_so(
    api: Api, anyone: aiohttp.ClientSession, workflows: Workflows
) -> None:
    name, path = await hook_of(CHAIN, SENDERS["github"], api, workflows)
    status, answer = await deliver(anyone, path, SENDERS["github"], b'{"ref": "refs/heads/main", "repo": 7}')
    assert status == 400
    assert answer["details"][0]["reason"] == "DELIVERY_UNPROCESSABLE"
    assert "repo" in answer["message"]
    assert await api.runs_of(name) == []


async def test_a_webhook_works_while_its_secret_is_being_changed(
    api: Api, anyone: aiohttp.ClientSession, workflows: Workflows
) -> None:
    sender = SENDERS["github"]
    secret = await workflows.secret(sender.secret)
    name = await workflows.apply(ECHO, verify=sender.verify.replace("$secret", secret))
    path = await api.hook_path(name)
    await api.set_secret(secret, "another-one")
    mac = hmac.new(b"another-one", b"{}", hashlib.sha256).hexdigest()

    async def accepted() -> None:
        headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={mac}"}
        async with anyone.post(path, data=b"{}", headers=headers) as answer:
            assert answer.status == 200

    await eventually(accepted, within=10.0, pause=0.2)
    status, _ = await deliver(anyone, path, sender, b"{}")
    assert status == 401
    assert {run_state(run) for run in await api.runs_of(name)} <= {"QUEUED", "RUNNING", "SUCCEEDED"}
