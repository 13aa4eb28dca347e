"""`http`: one request and its answer, redirects followed hop by hop."""

from __future__ import annotations

import errno
import os
import time

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from taskforge.domain.outcome import ErrorKind, Failed, Outcome, StepError, Succeeded
from taskforge.domain.workflow import JsonValue
from taskforge.executor.actions.action import Attempt
from taskforge.executor.faults import fault
from taskforge.executor.web.client import Answer, Client
from taskforge.executor.web.request import Identity, Request, build_request, is_for_one_origin
from taskforge.executor.web.response import content_encoding, parse_body, read_body, read_headers, read_start
from taskforge.executor.web.retry_after import read_retry_after
from taskforge.failpoints import Point, reach
from taskforge.security.masking import Masker

MAX_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_EXPECT = ("2xx",)
_DEFAULT_MAX_BODY = 1024 * 1024


class HttpAction:
    """Sends requests over the process's one client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __call__(self, attempt: Attempt) -> Outcome:
        """Send the request; a status that is expected makes the step succeed."""
        identity = Identity(
            run=attempt.run,
            step=attempt.step.id,
            effect=attempt.step.effect,
            numbers=attempt.numbers,
        )
        request = build_request(attempt.params, identity)
        for _ in range(MAX_REDIRECTS + 1):
            following = await self._exchange(request, attempt)
            if not isinstance(following, Request):
                return following
            request = following
        raise fault(ErrorKind.STATUS, f"{request.shown}: more than {MAX_REDIRECTS} redirects")

    async def _exchange(self, request: Request, attempt: Attempt) -> Outcome | Request:
        """One hop: an outcome, or the request that a redirect asks for."""
        started = time.perf_counter()
        try:
            with await self._client.send(request) as answer:
                await reach(Point.EFFECT_SENT, raising=aiohttp.ServerDisconnectedError)
                return await self._read(answer, request, attempt, started)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            return Failed(error=_explain(error, request))

    async def _read(self, answer: Answer, request: Request, attempt: Attempt, started: float) -> Outcome | Request:
        params = attempt.params
        headers = read_headers(answer)
        expected = _matches(answer.status, params.get("expect_status") or _DEFAULT_EXPECT)
        if answer.status in _REDIRECTS and not expected and params.get("follow_redirects", True):
            following = _follow(request, answer, headers, attempt.masker)
            if following is not None:
                return following
        if not expected:
            return Failed(error=await _unexpected(answer, request, headers))
        limit = int(params.get("max_body") or _DEFAULT_MAX_BODY)
        body = await read_body(answer, content_encoding(headers), limit)
        output = {
            "status": answer.status,
            "headers": headers,
            "body": parse_body(body, headers.get("content-type", "")),
            "elapsed_ms": round((time.perf_counter() - started) * 1000),
        }
        return Succeeded(output=output)


def _matches(status: int, expected: JsonValue) -> bool:
    return any(status == wanted or f"{status // 100}xx" == wanted for wanted in expected)


def _follow(request: Request, answer: Answer, headers: dict[str, str], masker: Masker) -> Request | None:
    """The request that a redirect asks for; None if it names no place, which makes it an ordinary answer."""
    location = headers.get("location")
    if not location:
        return None
    try:
        url = request.url.join(URL(location)).with_user(None)
    except ValueError as error:
        raise fault(ErrorKind.STATUS, f"{request.shown} redirects to an address that is not valid") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise fault(ErrorKind.BLOCKED, f"{request.shown} redirects to {url.scheme or 'no'}://, which is not followed")
    if url.raw_fragment == "" and request.url.raw_fragment:
        url = url.with_fragment(request.url.fragment)
    following = request.redirected(
        answer.status,
        url,
        keep_header=lambda name, value: not is_for_one_origin(name) and masker.mask(value) == value,
    )
    crosses = url.origin() != request.url.origin()
    if crosses and following.body and masker.mask(text := following.body.decode("utf-8", "replace")) != text:
        raise fault(ErrorKind.BLOCKED, f"{request.shown} redirects a body that holds a secret to another origin")
    return following


async def _unexpected(answer: Answer, request: Request, headers: dict[str, str]) -> StepError:
    start = await read_start(answer, content_encoding(headers))
    reason = f" {answer.reason}" if answer.reason else ""
    return StepError(
        kind=ErrorKind.STATUS,
        message=f"{request.shown} answered {answer.status}{reason}",
        status=answer.status,
        retry_after=read_retry_after(answer.status, headers),
        details={"body": start} if start else None,
    )


def _explain(error: Exception, request: Request) -> StepError:
    """The class decides about retries: CONNECT only when nothing can have been sent."""
    kind, reason = _classify(error)
    return StepError(kind=kind, message=f"{request.shown}: {reason}")


def _classify(error: Exception) -> tuple[ErrorKind, str]:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return ErrorKind.TLS, f"the certificate is not valid: {error.certificate_error}"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return ErrorKind.TLS, f"TLS failed: {error.__cause__ or error}"
        case aiohttp.ClientConnectorDNSError():
            return ErrorKind.CONNECT, f"the host name cannot be resolved: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorError() if error.os_error.errno == errno.EPERM:
            return ErrorKind.BLOCKED, error.os_error.strerror or "a local rule forbids the connection"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            reason = os.strerror(number) if number and number > 0 else error.os_error.strerror or str(error.os_error)
            return ErrorKind.CONNECT, f"no connection to {error.host}:{error.port}: {reason}"
        case aiohttp.ConnectionTimeoutError():
            return ErrorKind.CONNECT, "no connection in time"
        case aiohttp.InvalidURL() | ValueError():
            return ErrorKind.INPUT, f"the request cannot be sent: {error}"
        case HttpProcessingError():
            return ErrorKind.NETWORK, f"the answer is not valid HTTP: {error.message}"
        case _:
            return ErrorKind.NETWORK, f"the connection broke: {error or type(error).__name__}"
