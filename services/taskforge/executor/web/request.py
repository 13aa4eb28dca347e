"""From a step's rendered parameters to a request that can be sent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from yarl import URL

from taskforge.domain.outcome import ErrorKind
from taskforge.domain.workflow import Effect, JsonValue
from taskforge.executor.faults import fault
from taskforge.executor.log_lines import Numbers
from taskforge.language.paths import describe

_EFFECTFUL = frozenset({Effect.AT_LEAST_ONCE, Effect.AT_MOST_ONCE})
_ONE_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization", "host"})
_OURS = frozenset({"content-length", "transfer-encoding"})  # what frames the body is not the workflow's to say
_FORBIDDEN = frozenset("\r\n\0")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_BODY_MEANT = frozenset({"GET", "HEAD", "OPTIONS"})
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Identity(NamedTuple):
    """Which execution a request belongs to: what receivers trace it and tell repetitions by."""

    run: str
    step: str
    effect: Effect
    numbers: Numbers

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt and takeover of one execution; a redrive is a new one."""
        text = f"{self.run}/{self.step}/{self.numbers.epoch}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def headers(self) -> dict[str, str]:
        """What every request carries unless the workflow says otherwise."""
        numbers = self.numbers
        found = {
            "accept": "*/*",
            "accept-encoding": "gzip, deflate",
            "user-agent": "taskforge",
            "taskforge-run": self.run,
            "taskforge-step": self.step,
            "taskforge-attempt": f"{numbers.attempt};epoch={numbers.epoch};token={numbers.token}",
        }
        if self.effect in _EFFECTFUL:
            found["idempotency-key"] = f'"{self.idempotency_key}"'
        return found


class Request(NamedTuple):
    """One request of a step; redirects make others of it."""

    method: str
    url: URL
    headers: Mapping[str, str]  #: names in lower case
    body: bytes | None

    @property
    def shown(self) -> str:
        """The request in one line, without the parts in which credentials travel."""
        return f"{self.method} {self.url.with_user(None).with_query(None).with_fragment(None)}"

    @property
    def expects_continue(self) -> bool:
        """Whether the body must not be sent before the other side says that it wants it."""
        return self.headers.get("expect", "").lower() == "100-continue"

    def head(self) -> bytes:
        """The request line and the headers as they are sent. Raises ValueError if they cannot be."""
        url, headers = self.url, self.headers
        lines = [f"{self.method} {url.raw_path_qs} HTTP/1.1"]
        if "host" not in headers:
            lines.append(f"host: {url.host_port_subcomponent}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if url.raw_user is not None or url.raw_password is not None:
            if "authorization" in headers:
                raise ValueError("its credentials are both in the url and in a header")
            lines.append(f"authorization: {_basic(url.user or '', url.password or '')}")
        if self.body is not None or self.method not in _NO_BODY_MEANT:
            lines.append(f"content-length: {len(self.body or b'')}")
        if _CONTROL.search("".join(lines)):
            raise ValueError("a header holds a control character")
        return "\r\n".join((*lines, "\r\n")).encode()

    def redirected(self, status: int, url: URL, *, keep_header: Any) -> Request:
        """The request that follows a redirect.

        Args:
            status: the redirect's status.
            url: where it leads.
            keep_header: told of each header (name, value) when the origin changes: whether the new one may see it.
        """
        to_get = (status == 303 and self.method != "HEAD") or (status in (301, 302) and self.method == "POST")
        headers = dict(self.headers)
        if url.origin() != self.url.origin():
            headers = {name: value for name, value in headers.items() if keep_header(name, value)}
        if to_get:
            headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
        method, body = ("GET", None) if to_get else (self.method, self.body)
        return self._replace(method=method, url=url, headers=headers, body=body)


def is_for_one_origin(name: str) -> bool:
    """Whether a header must not follow a redirect to somewhere else."""
    return name in _ONE_ORIGIN


def build_request(params: Mapping[str, JsonValue], identity: Identity) -> Request:
    """Build the request. Raises StepFault when the parameters make none."""
    url = read_url(params.get("url"))
    query = list(_pairs("query", params["query"])) if params.get("query") else None
    body, content_type = _body(params)
    headers = identity.headers()
    if content_type:
        headers["content-type"] = content_type
    authorization = _authorization(params.get("auth"))
    if authorization:
        headers["authorization"] = authorization
    if params.get("headers"):
        headers.update(_headers(params["headers"]))
    return Request(
        method=str(params["method"]), url=url.extend_query(query) if query else url, headers=headers, body=body
    )


def read_url(value: JsonValue) -> URL:
    """Parse a URL strictly: http or https, with a host."""
    if not isinstance(value, str):
        raise fault(ErrorKind.INPUT, f"url must be text, this is {describe(value)}")
    try:
        url = URL(value.strip())
        sound = bool(url.host) and url.port != 0
    except ValueError as error:
        raise fault(ErrorKind.INPUT, f"url is not valid: {error}") from error
    if url.scheme not in ("http", "https"):
        raise fault(ErrorKind.INPUT, f"url must start with http:// or https://, this one is {value[:200]!r}")
    if not sound:
        raise fault(ErrorKind.INPUT, f"url has no host: {value[:200]!r}")
    return url


def _headers(given: JsonValue) -> dict[str, str]:
    found = {}
    for name, value in _pairs("headers", given):
        if not name or not name.isascii() or _FORBIDDEN & set(name + value) or set(name) & set(' \t":'):
            raise fault(ErrorKind.INPUT, f"header {name!a} is not valid: a name or value holds characters it may not")
        if name.lower() in _OURS:
            raise fault(ErrorKind.INPUT, f"header {name!a} cannot be set: it follows from the body")
        found[name.lower()] = value
    return found


def _pairs(field: str, given: JsonValue) -> Iterator[tuple[str, str]]:
    """Names and values as text. Null leaves a name out; a list repeats it."""
    if not isinstance(given, Mapping):
        raise fault(ErrorKind.INPUT, f"{field} must be an object, this is {describe(given)}")
    for name, value in given.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict | list):
                raise fault(ErrorKind.INPUT, f"{field}.{name} must be text, a number or true/false")
            if item is not None:
                yield name, item if isinstance(item, str) else _to_json(item)


def _body(params: Mapping[str, JsonValue]) -> tuple[bytes | None, str]:
    """The body and the content type it has unless a header says otherwise."""
    try:
        if "json" in params:
            return _to_json(params["json"]).encode(), "application/json"
        if "form" in params:
            pairs = list(_pairs("form", params["form"]))
            return urlencode(pairs).encode(), "application/x-www-form-urlencoded"
        text = params.get("body")
        if text is None:
            return None, ""
        if isinstance(text, str):
            return text.encode(), "text/plain; charset=utf-8"
    except ValueError as error:  # a lone surrogate
        raise fault(ErrorKind.INPUT, f"the body cannot be encoded: {error}") from error
    raise fault(ErrorKind.INPUT, f"body must be text, this is {describe(text)}; use json: for data")


def _authorization(auth: JsonValue) -> str:
    if not auth:
        return ""
    if auth["type"] == "bearer":
        return f"Bearer {auth['token']}"
    return _basic(auth["username"], auth["password"])


def _basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
