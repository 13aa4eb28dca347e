"""Bodies as values that can be stored."""

from __future__ import annotations

import pytest

from taskforge.domain.outcome import ErrorKind
from taskforge.executor.faults import StepFault
from taskforge.executor.web.response import parse_body


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
)
def test_json_is_parsed_when_the_content_type_says_so(content_type: str) -> None:
    assert parse_body(b'{"a": [1, 2.5, null]}', content_type) == {"a": [1, 2.5, None]}
    assert parse_body(b'\xef\xbb\xbf{"a": 1}', content_type) == {"a": 1}
    assert parse_body(b" ", content_type) is None


@pytest.mark.parametrize("body", [b"{", b"NaN", b"[Infinity]", b"\xff", b"[" * 100_000])
def test_a_broken_promise_of_json_is_a_typed_failure(body: bytes) -> None:
    with pytest.raises(StepFault, match="its body is not JSON") as caught:
        parse_body(body, "application/json")
    assert caught.value.error.kind is ErrorKind.OUTPUT


def test_everything_else_is_text() -> None:
    assert parse_body(b'{"a": 1}', "text/plain") == '{"a": 1}'
    assert parse_body("ä".encode(), "") == "ä"
    assert parse_body(b"\xe4", 'text/html; charset="ISO-8859-1"') == "ä"
    assert parse_body(b"", "text/html") == ""


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\0b"])
def test_what_is_no_text_is_marked_and_encoded(body: bytes) -> None:
    assert set(parse_body(body, "application/octet-stream")) == {"base64"}
    assert parse_body(b"\xff", "") == {"base64": "/w=="}
