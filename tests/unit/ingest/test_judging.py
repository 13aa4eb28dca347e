"""No bytes that anybody sends make ingest raise, and the same content is judged the same way again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskforge.domain.json_values import check_json
from taskforge.domain.workflow import Workflow
from taskforge.ingest.judge import Accepted, Filtered, Hook, Unprocessable, bounded_key, judge
from taskforge.ingest.rejections import RejectionQuota
from taskforge.ingest.requests import read_request, without_header
from taskforge.language.parse import parse_workflow
from taskforge.language.plan import plan_webhook
from taskforge.runtime.ids import new_id
from taskforge.security.masking import MASK
from taskforge.security.signatures import verify
from taskforge.security.webhook_schemes import scheme_named
from taskforge.store.deliveries import Content

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = """
name: anything
inputs:
  kind: {}
  text: {type: string, default: none}
triggers:
  - id: hook
    webhook:
      verify: {scheme: none}
      dedupe: {key: "${{ trigger.headers['x-id'] }}"}
      if: ${{ trigger.body.n != 13 }}
    inputs: {kind: "${{ trigger.body.kind }}", text: "a ${{ trigger.query }} b ${{ trigger.body }}"}
steps:
  - {id: say, log: hello}
"""


def _compiled() -> Workflow:
    parsed = parse_workflow(SOURCE)
    assert parsed.workflow is not None, parsed.problems
    return parsed.workflow


WORKFLOW = _compiled()
HOOK = Hook(
    revision_id=new_id(), workflow=WORKFLOW, plan=plan_webhook(WORKFLOW.webhooks[0]), scheme=scheme_named("none")
)
CONTENT_TYPES = [
    "",
    "application/json",
    "application/vnd.x+json; charset=utf-8",
    "text/plain",
    "\0;=",
    "application/json;",
]
FORM = "application/x-www-form-urlencoded"

header_names = st.one_of(
    st.sampled_from(["x-id", "authorization", "x-a-bin", "x-envoy-original-path", "X-ID"]), st.text()
)
header_values = st.one_of(st.text(max_size=50), st.binary(max_size=50))
metadata = st.lists(st.tuples(header_names, header_values), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(["n", "kind", "other"]), json_values).map(
    lambda value: json.dumps(value).encode()
)
bodies = st.one_of(st.binary(max_size=200), documents, json_values.map(lambda value: json.dumps(value).encode()))


def content_of(body: bytes, content_type: str = "application/json", **headers: str) -> Content:
    return Content(body=body, content_type=content_type, headers=headers, query="")


@settings(max_examples=400, deadline=None)
@given(metadata=metadata, body=bodies, content_type=st.one_of(st.sampled_from([*CONTENT_TYPES, FORM]), st.text()))
@example(metadata=[("x-id", "1")], body=b'{"kind": 1' + b"0" * 400 + b"}", content_type="application/json")
@example(metadata=[("x-id", "1")], body=b"[" * 100_000, content_type="application/json")
@example(metadata=[("x-id", "1")], body=b'{"kind": "\\ud800"}', content_type="application/json")
@example(metadata=[("x-id", "1")], body=b"\xff\xfe{\x00", content_type="application/json")
@example(metadata=[("x-envoy-original-path", "//[/?a=b")], body=b"", content_type="")
@example(metadata=[("x-id", "\ud800")], body=b'{"kind": 1, "n": 1}', content_type="application/json")
def test_no_request_makes_it_raise(metadata: list[tuple[str, str | bytes]], body: bytes, content_type: str) -> None:
    request = read_request(metadata, body, content_type)
    judgement = judge(HOOK, request.content, NOW)
    assert isinstance(judgement, Accepted | Filtered | Unprocessable)
    assert judge(HOOK, request.content, NOW) == judgement
    assert request.content.body == body
    # Whatever it was, the database can hold it.
    assert check_json([dict(request.content.headers), request.content.query, request.content.content_type]) is None
    if isinstance(judgement, Accepted):
        assert check_json([json.loads(judgement.inputs), json.loads(judgement.trigger), judgement.key]) is None


@settings(max_examples=200, deadline=None)
@given(
    metadata=metadata,
    body=st.binary(max_size=100),
    name=st.sampled_from(["standard", "github", "gitea", "gitlab", "stripe", "slack", "shopify", "token"]),
)
def test_no_header_makes_verification_raise_or_pass(
    metadata: list[tuple[str, str | bytes]], body: bytes, name: str
) -> None:
    request = read_request(metadata, body, "")
    verdict = verify(scheme_named(name), request.raw_headers, body, ("whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0",), 0.0)
    assert not hasattr(verdict, "secret_index")


def test_a_value_keeps_its_type_on_the_way_to_the_inputs() -> None:
    judgement = judge(HOOK, content_of(b'{"kind": [1, 2.5, null], "n": 1}', **{"x-id": "7"}), NOW)
    assert isinstance(judgement, Accepted)
    assert json.loads(judgement.inputs)["kind"] == [1, 2.5, None]
    assert judgement.key == "7"
    assert json.loads(judgement.trigger)["received_at"] == "2026-03-01T12:00:00Z"


def test_a_false_condition_filters() -> None:
    assert judge(HOOK, content_of(b'{"n": 13}', **{"x-id": "7"}), NOW) == Filtered()


def test_a_missing_key_is_told_rather_than_passed_over() -> None:
    judgement = judge(HOOK, content_of(b'{"n": 1, "kind": 1}'), NOW)
    assert isinstance(judgement, Unprocessable)
    assert "x-id" in judgement.message


@pytest.mark.parametrize(
    ("body", "content_type", "seen"),
    [
        (b"a=1&b=&c=x&c=y", FORM, {"a": "1", "b": "", "c": ["x", "y"]}),
        (b"plain \xff\0 text", "text/plain", "plain \ufffd\ufffd text"),
        (b"", "application/json", None),
        (b'{"a": 1}', "", '{"a": 1}'),
        (b'{"a": 1}', "Application/Problem+JSON; charset=utf-8", {"a": 1}),
    ],
)
def test_the_content_type_says_how_a_body_is_read(body: bytes, content_type: str, seen: object) -> None:
    plain = Hook(
        revision_id=new_id(),
        workflow=WORKFLOW,
        plan=plan_webhook(type(WORKFLOW.webhooks[0])(id="hook", scheme="none", inputs={"kind": "${{ trigger.body }}"})),
        scheme=scheme_named("none"),
    )
    judgement = judge(plain, content_of(body, content_type), NOW)
    assert isinstance(judgement, Accepted)
    assert json.loads(judgement.inputs)["kind"] == seen


def test_what_the_edge_adds_is_not_shown_and_what_is_secret_is_hidden() -> None:
    request = read_request(
        [
            ("x-envoy-original-path", "/hooks/w/t/key?token=1&a=b"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("Authorization", "Bearer abc"),
            ("x-my-api-key", "abc"),
            ("x-event-key", "push"),
            ("accept", "a"),
            ("accept", "b"),
        ],
        b"",
        "text/plain",
    )
    assert request.content.headers == {
        "authorization": MASK,
        "x-my-api-key": MASK,
        "x-event-key": "push",
        "accept": "a, b",
        "content-type": "text/plain",
    }
    assert request.content.query == "token=1&a=b"
    assert ("authorization", "Bearer abc") in request.raw_headers
    assert without_header(request.content, "x-event-key").headers["x-event-key"] == MASK


def test_long_keys_are_hashed_not_cut() -> None:
    assert bounded_key("a" * 200) == "a" * 200
    assert bounded_key("a" * 201) != bounded_key("a" * 202)
    assert len(bounded_key("a" * 10_000)) < 200


def test_rejected_deliveries_are_kept_up_to_a_number_a_minute() -> None:
    now = 0.0
    quota = RejectionQuota(per_minute=2, clock=lambda: now)
    hook, other = new_id(), new_id()
    assert [quota.take(hook) for _ in range(3)] == [True, True, False]
    assert quota.take(other)
    now = 61.0
    assert quota.take(hook)
