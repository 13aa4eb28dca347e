"""From rendered parameters to a request, and from a redirect to the next one."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from taskforge.domain.outcome import ErrorKind
from taskforge.domain.workflow import Effect
from taskforge.executor.faults import StepFault
from taskforge.executor.log_lines import Numbers
from taskforge.executor.web.request import Identity, Request, build_request, is_for_one_origin

RUN = "018f0000-0000-7000-8000-000000000001"


def identity(effect: Effect = Effect.AT_LEAST_ONCE, *, epoch: int = 0, attempt: int = 2, token: int = 7) -> Identity:
    numbers = Numbers(attempt=attempt, epoch=epoch, token=token)
    return Identity(run=RUN, step="send", effect=effect, numbers=numbers)


def build(effect: Effect = Effect.AT_LEAST_ONCE, **params: Any) -> Request:
    return build_request({"method": "POST", "url": "http://example.com/x", **params}, identity(effect))


def refused(**params: Any) -> str:
    with pytest.raises(StepFault) as caught:
        build(**params)
    assert caught.value.error.kind is ErrorKind.INPUT
    return caught.value.error.message


def test_every_request_says_what_it_belongs_to() -> None:
    headers = build().headers
    assert headers["taskforge-run"] == RUN
    assert headers["taskforge-step"] == "send"
    assert headers["taskforge-attempt"] == "2;epoch=0;token=7"


def test_the_idempotency_key_is_a_quoted_string_that_only_a_redrive_changes() -> None:
    key = identity().headers()["idempotency-key"]
    assert key.startswith('"')
    assert key.endswith('"')
    assert identity(attempt=5, token=99).headers()["idempotency-key"] == key
    assert identity(epoch=1).headers()["idempotency-key"] != key


@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.PURE])
def test_requests_that_may_be_repeated_carry_no_idempotency_key(effect: Effect) -> None:
    assert "idempotency-key" not in build(effect).headers


def test_the_workflows_headers_win_whatever_their_case() -> None:
    headers = build(headers={"Idempotency-Key": "mine", "TaskForge-Run": "x", "User-Agent": "me"}).headers
    assert (headers["idempotency-key"], headers["taskforge-run"], headers["user-agent"]) == ("mine", "x", "me")


def test_bodies_and_their_content_types() -> None:
    assert build(json={"ä": [1, None]}).body == '{"ä":[1,null]}'.encode()
    assert build(json=None).body == b"null"
    assert build(json={}).headers["content-type"] == "application/json"
    form = build(form={"a": "x y", "b": [1, True], "c": None})
    assert form.body == b"a=x+y&b=1&b=true"
    assert form.headers["content-type"] == "application/x-www-form-urlencoded"
    assert build(body="hi").body == b"hi"
    assert build(body="<a/>", headers={"content-type": "text/xml"}).headers["content-type"] == "text/xml"
    assert build().body is None
    assert "content-type" not in build().headers


def test_query_parameters_join_those_of_the_url() -> None:
    url = build(url="http://example.com/x?a=1", query={"a": 2, "b": ["x&y", False], "c": None}).url
    assert str(url) == "http://example.com/x?a=1&a=2&b=x%26y&b=false"


def test_authentication() -> None:
    assert build(auth={"type": "bearer", "token": "t"}).headers["authorization"] == "Bearer t"
    basic = build(auth={"type": "basic", "username": "me", "password": "p:w"})
    assert basic.headers["authorization"] == "Basic bWU6cDp3"


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "file:///etc/passwd", "example.com/x", "", "http://", "https://:80/", "gopher://x/", 5, None,
     "http://[::1", "http://example.com:99999/"],
)  # fmt: skip
def test_what_is_no_http_url_is_refused(url: Any) -> None:
    assert "url" in refused(url=url)


@pytest.mark.parametrize(
    "headers", [{"a\r\nb": "x"}, {"a": "x\r\ny: z"}, {"": "x"}, {"a b": "x"}, {"a:": "x"}, {"ä": "x"}, {"a": "\0"}]
)
def test_headers_cannot_be_smuggled(headers: dict[str, str]) -> None:
    assert "not valid" in refused(headers=headers)


def test_headers_that_frame_the_body_are_ours() -> None:
    assert "follows from the body" in refused(headers={"Content-Length": "5"})
    assert "follows from the body" in refused(headers={"Transfer-Encoding": "chunked"})


def test_values_of_the_wrong_shape_are_refused() -> None:
    assert "headers.a" in refused(headers={"a": {"b": 1}})
    assert "query.q" in refused(query={"q": [[1]]})
    assert "body must be text" in refused(body={"a": 1})
    assert "cannot be encoded" in refused(body="\ud800")
    assert "cannot be encoded" in refused(json={"a": float("nan")})


def follow(status: int, to: str, **params: Any) -> Request:
    request = build(**params)
    return request.redirected(status, URL(to), keep_header=lambda name, value: not is_for_one_origin(name))


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_redirects_keep_or_change_the_method(status: int, method: str) -> None:
    following = follow(status, "http://example.com/y", json={})
    assert following.method == method
    assert (following.body is None) is (method == "GET")
    assert ("content-type" in following.headers) is (method == "POST")


@pytest.mark.parametrize(
    ("to", "kept"),
    [("http://example.com/y", True), ("https://example.com/y", False), ("http://example.com:81/", False)],
)
def test_credentials_stay_with_their_origin(to: str, kept: bool) -> None:
    following = follow(307, to, headers={"authorization": "x", "cookie": "y", "host": "z", "x-fine": "w"})
    assert ("authorization" in following.headers) is kept
    assert ("cookie" in following.headers) is kept
    assert ("host" in following.headers) is kept
    assert following.headers["x-fine"] == "w"


def test_what_is_shown_hides_where_credentials_travel() -> None:
    request = build(url="http://me:secret@example.com/x?token=secret#secret")
    assert request.shown == "POST http://example.com/x"


def test_the_head_as_it_is_sent() -> None:
    lines = build(url="http://example.com:81/a b?c=1#d", json={}, headers={"X-Long": "é"}).head().split(b"\r\n")
    assert lines[:2] == [b"POST /a%20b?c=1 HTTP/1.1", b"host: example.com:81"]
    assert {"x-long: é".encode(), b"accept: */*", b"content-length: 2", b"content-type: application/json"} <= set(lines)
    assert lines[-2:] == [b"", b""]


@pytest.mark.parametrize(("method", "said"), [("GET", False), ("HEAD", False), ("POST", True), ("DELETE", True)])
def test_methods_that_may_have_a_body_say_that_there_is_none(method: str, said: bool) -> None:
    assert (b"\r\ncontent-length: 0\r\n" in build(method=method).head()) is said
    assert b"\r\ncontent-length: 1\r\n" in build(method=method, body="x").head()


def test_a_host_of_the_workflows_own() -> None:
    head = build(headers={"Host": "other"}).head()
    assert b"\r\nhost: other\r\n" in head
    assert b"example.com" not in head


def test_credentials_of_the_url() -> None:
    url = "http://user:p%40ss@example.com/"
    assert b"\r\nhost: example.com\r\n" in build(url=url).head()
    assert b"\r\nauthorization: Basic dXNlcjpwQHNz\r\n" in build(url=url).head()
    with pytest.raises(ValueError, match="credentials"):
        build(url=url, auth={"type": "bearer", "token": "t"}).head()


@pytest.mark.parametrize("token", ["a\r\nx: y", "a\nb", "a\0", "\ud800"])
def test_a_token_cannot_end_its_line(token: str) -> None:
    with pytest.raises(ValueError, match=r"control character|surrogates"):
        build(auth={"type": "bearer", "token": token}).head()
