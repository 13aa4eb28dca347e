"""The http step against a real server: what it sends, what it accepts, what it calls each failure."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from taskforge.domain.outcome import ErrorKind, Failed, Outcome, StepError, Succeeded
from taskforge.domain.workflow import ActionKind, Effect, Step
from taskforge.executor.actions.action import Attempt
from taskforge.executor.actions.http import MAX_REDIRECTS, HttpAction
from taskforge.executor.faults import StepFault
from taskforge.executor.log_lines import LogLines, Numbers
from taskforge.executor.web.client import Client
from taskforge.executor.web.egress import EgressPolicy
from taskforge.language.plan import plan_step
from taskforge.runtime.ids import new_id
from taskforge.security.masking import Masker
from tests.support.places import free_port
from tests.support.target import Answer, Target


class Sender:
    """Runs the action the way the step runner does, without the rest of a run."""

    def __init__(self, action: HttpAction) -> None:
        self._action = action

    async def __call__(self, url: str, *, secret: str = "", **params: Any) -> Outcome:
        effect = params.pop("effect", Effect.AT_LEAST_ONCE)
        step = Step(index=0, id="send", kind=ActionKind.HTTP, params={}, effect=effect)
        numbers, masker = Numbers(attempt=1, epoch=0, token=1), Masker([secret])
        attempt = Attempt(
            run=str(new_id()),
            plan=plan_step(step),
            params={"method": "GET", "url": url, "expect_status": ["2xx"], **params},
            context={},
            masker=masker,
            log=LogLines(b"", 0, numbers, masker),
            numbers=numbers,
        )
        try:
            return await self._action(attempt)
        except StepFault as fault:
            return Failed(error=fault.error)

    async def output(self, url: str, **params: Any) -> dict[str, Any]:
        """The output of a request that must succeed."""
        outcome = await self(url, **params)
        assert isinstance(outcome, Succeeded), outcome
        found: dict[str, Any] = outcome.output
        return found

    async def error(self, url: str, **params: Any) -> StepError:
        """The error of a request that must fail."""
        outcome = await self(url, **params)
        assert isinstance(outcome, Failed), outcome
        return outcome.error


@pytest.fixture
async def send() -> AsyncIterator[Sender]:
    client = Client(EgressPolicy(deny=[ip_network("127.0.0.99/32")]))
    yield Sender(HttpAction(client))
    await client.close()


async def test_the_output_holds_status_headers_body_and_time(send: Sender, target: Target) -> None:
    target.answer("/x", Answer(status=201, json={"a": 1}, headers={"X-Thing": "T"}))
    output = await send.output(target.url("/x"))
    assert (output["status"], output["body"], output["headers"]["x-thing"]) == (201, {"a": 1}, "T")
    assert output["elapsed_ms"] >= 0


async def test_repeated_headers_are_joined(send: Sender, target: Target) -> None:
    async def repeat(request: web.Request) -> web.Response:
        response = web.Response()
        for value in ("1", "2"):
            response.headers.add("X-Many", value)
            response.headers.add("Set-Cookie", f"c={value}")
        return response

    target.handle("/x", repeat)
    headers = (await send.output(target.url("/x")))["headers"]
    assert headers["x-many"] == "1, 2"
    assert headers["set-cookie"] == "c=1\nc=2"
    await send.output(target.url("/y"))
    assert "cookie" not in target.on("/y")[0].headers


async def test_what_is_sent(send: Sender, target: Target) -> None:
    await send.output(target.url("/x"), method="PATCH", json={"ä": True}, query={"q": "a b"}, headers={"X-A": "ü"})
    [received] = target.on("/x")
    assert (received.method, received.query, received.json()) == ("PATCH", {"q": "a b"}, {"ä": True})
    assert received.headers["content-type"] == "application/json"
    assert received.headers["idempotency-key"].startswith('"')
    assert received.headers["accept-encoding"] == "gzip, deflate"


async def test_an_unexpected_status_is_told_with_the_start_of_the_body(send: Sender, target: Target) -> None:
    target.answer("/x", Answer(status=503, body=b"busy" * 1000, headers={"Retry-After": "7"}))
    error = await send.error(target.url("/x?token=hidden"))
    assert (error.kind, error.status, error.retry_after) == (ErrorKind.STATUS, 503, 7.0)
    assert error.message == f"GET {target.url('/x')} answered 503 Service Unavailable"
    assert error.details == {"body": ("busy" * 1000)[:2048] + "…"}


async def test_other_statuses_can_be_expected(send: Sender, target: Target) -> None:
    target.answer("/x", Answer(status=404))
    assert (await send.output(target.url("/x"), expect_status=["2xx", 404]))["status"] == 404
    assert (await send.error(target.url("/x"), expect_status=[200])).status == 404


async def test_answers_without_a_body(send: Sender, target: Target) -> None:
    target.answer("/x", Answer(status=204, headers={"Content-Type": "application/json"}))
    assert (await send.output(target.url("/x")))["body"] is None
    target.answer("/y", Answer(json={"a": 1}))
    assert (await send.output(target.url("/y"), method="HEAD"))["body"] is None


# --- redirects ------------------------------------------------------------------------------------


async def test_redirects_are_followed_up_to_a_limit(send: Sender, target: Target) -> None:
    for hop in range(MAX_REDIRECTS + 1):
        target.answer(f"/{hop}", Answer(status=302, headers={"Location": f"{hop + 1}"}))
    assert (await send.output(target.url("/1")))["status"] == 200
    error = await send.error(target.url("/0"))
    assert (error.kind, f"more than {MAX_REDIRECTS} redirects" in error.message) == (ErrorKind.STATUS, True)


async def test_a_redirect_can_be_wanted_as_the_answer(send: Sender, target: Target) -> None:
    target.answer("/x", Answer(status=302, headers={"Location": "/y"}))
    assert (await send.output(target.url("/x"), expect_status=[302]))["status"] == 302
    error = await send.error(target.url("/x"), follow_redirects=False)
    assert (error.kind, error.status) == (ErrorKind.STATUS, 302)


async def test_secrets_do_not_cross_origins(send: Sender, target: Target) -> None:
    elsewhere = f"http://localhost:{target.port}/there"
    target.answer("/x", Answer(status=307, headers={"Location": elsewhere}))
    headers = {"Authorization": "Bearer abc", "X-Key": "key-s3cr3t-x", "X-Fine": "f"}
    await send.output(target.url("/x"), headers=headers, secret="s3cr3t")
    assert target.on("/x")[0].headers["x-key"] == "key-s3cr3t-x"
    there = target.on("/there")[0].headers
    assert there["x-fine"] == "f"
    assert "authorization" not in there
    assert "x-key" not in there

    error = await send.error(target.url("/x"), method="POST", json={"k": "s3cr3t"}, secret="s3cr3t")
    assert error.kind is ErrorKind.BLOCKED
    assert len(target.on("/there")) == 1


@pytest.mark.parametrize("place", ["http://169.254.169.254/", "http://[::ffff:169.254.169.254]/", "http://127.0.0.99/"])
async def test_forbidden_places_are_blocked_directly_and_behind_a_redirect(
    send: Sender, target: Target, place: str
) -> None:
    target.answer("/x", Answer(status=302, headers={"Location": place}))
    for url in (place, target.url("/x")):
        error = await send.error(url)
        assert error.kind is ErrorKind.BLOCKED, error
        assert "egress policy refuses" in error.message


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://example.com/", "gopher://x/", "http://", "javascript:x"]
)
async def test_redirects_to_what_is_not_http_are_not_followed(send: Sender, target: Target, place: str) -> None:
    target.answer("/x", Answer(status=302, headers={"Location": place}))
    assert (await send.error(target.url("/x"))).kind in (ErrorKind.BLOCKED, ErrorKind.STATUS)


# --- bodies ---------------------------------------------------------------------------------------


def encoded(body: bytes, encoding: str, content_type: str = "text/plain") -> Answer:
    return Answer(body=body, headers={"Content-Encoding": encoding, "Content-Type": content_type})


async def test_compressed_bodies_are_decoded(send: Sender, target: Target) -> None:
    raw = zlib.compressobj(wbits=-15)
    deflated = raw.compress(b"hello") + raw.flush()
    answers = {
        "/gzip": encoded(gzip.compress(b'{"a":1}'), "gzip", "application/json"),
        "/members": encoded(gzip.compress(b"one") + gzip.compress(b"two"), "gzip"),
        "/deflate": encoded(zlib.compress(b"hello"), "deflate"),
        "/raw": encoded(deflated, "deflate"),
    }
    for path, answer in answers.items():
        target.answer(path, answer)
    assert (await send.output(target.url("/gzip")))["body"] == {"a": 1}
    assert (await send.output(target.url("/members")))["body"] == "onetwo"
    assert (await send.output(target.url("/deflate")))["body"] == "hello"
    assert (await send.output(target.url("/raw")))["body"] == "hello"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (encoded(gzip.compress(b"x" * 10_000_000), "gzip"), "larger than max_body"),
        (encoded(gzip.compress(b"hello world")[:-6], "gzip"), "cut short"),
        (encoded(b"not gzip", "gzip"), "damaged"),
        (encoded(b"x", "br"), "not supported"),
        (encoded(gzip.compress(gzip.compress(b"x")), "gzip, gzip"), "not supported"),
        (Answer(body=b"x" * 1001), "larger than max_body (1000 bytes)"),
        (Answer(body=b"{", headers={"Content-Type": "application/json"}), "not JSON"),
    ],
)
async def test_bodies_that_cannot_be_taken_are_typed_failures(
    send: Sender, target: Target, answer: Answer, expected: str
) -> None:
    target.answer("/x", answer)
    error = await send.error(target.url("/x"), max_body=1000)
    assert error.kind is ErrorKind.OUTPUT
    assert expected in error.message


async def test_an_endless_body_is_cut_off(send: Sender, target: Target) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    target.handle("/x", endless)
    assert "larger than max_body" in (await send.error(target.url("/x"), max_body=100_000)).message
    assert (await send.error(target.url("/x"), expect_status=[418])).status == 200


# --- connections ----------------------------------------------------------------------------------


async def test_connections_are_reused(send: Sender, target: Target) -> None:
    ports = []

    async def note(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.json_response({})

    target.handle("/x", note)
    for _ in range(3):
        await send.output(target.url("/x"), method="POST", json={})
    assert len(set(ports)) == 1


async def test_nobody_listening_is_a_connect_error(send: Sender) -> None:
    error = await send.error(f"http://127.0.0.1:{free_port()}/", method="POST")
    assert error.kind is ErrorKind.CONNECT
    assert "refused" in error.message.lower()


async def test_an_unknown_host_is_a_connect_error(send: Sender) -> None:
    error = await send.error("http://no-such-host.invalid/")
    assert error.kind is ErrorKind.CONNECT
    assert "cannot be resolved" in error.message


async def test_a_connection_that_breaks_after_the_request_is_a_network_error(send: Sender, target: Target) -> None:
    target.answer("/x", Answer(cut=True))
    assert (await send.error(target.url("/x"), method="POST", json={})).kind is ErrorKind.NETWORK


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH"])
async def test_an_attempt_sends_its_request_once(send: Sender, target: Target, method: str) -> None:
    """Whether it is repeated is the retry policy's business, however harmless the method is said to be."""
    target.answer("/x", Answer(cut=True))
    for path in ("/x", "/y", "/x"):  # over a new connection, and over one that was used before
        await send(target.url(path), method=method)
    assert len(target.on("/x")) == 2


async def test_a_body_that_breaks_off_is_a_network_error(send: Sender, target: Target) -> None:
    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return response

    target.handle("/x", short)
    assert (await send.error(target.url("/x"))).kind is ErrorKind.NETWORK


async def test_proxy_variables_are_ignored(send: Sender, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await send.output(target.url("/x")))["status"] == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*request, "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True)
    return certificate, key


async def test_tls_failures_are_named(send: Sender, target: Target, folder: Path) -> None:
    error = await send.error(f"https://127.0.0.1:{target.port}/")
    assert error.kind is ErrorKind.TLS

    certificate, key = await asyncio.to_thread(self_signed, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    error = await send.error(f"https://localhost:{port}/")
    await runner.cleanup()
    assert error.kind is ErrorKind.TLS
    assert "certificate" in error.message


async def test_a_server_that_speaks_no_http_is_a_network_error(send: Sender) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x00\x01garbage\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    error = await send.error(f"http://127.0.0.1:{port}/")
    server.close()
    await server.wait_closed()
    assert error.kind is ErrorKind.NETWORK
