"""The edge of a Compose deployment as the command line waits for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from taskforge_cli.stack.compose_edge import Edge


@pytest.mark.parametrize(
    ("status", "components", "ready"),
    [
        (200, [{"name": "scheduler", "healthy": True}], True),
        (200, [{"name": "scheduler", "healthy": False}], False),
        (200, None, False),
        (401, [], True),
        (503, [], False),
    ],
)
def test_the_edge_is_ready_when_the_server_answers_behind_it(status: int, components: Any, ready: bool) -> None:
    body = b"?" if components is None else json.dumps({"components": components}).encode()
    with _server(status, body) as (port, seen):
        assert Edge(bind="0.0.0.0", port=port).is_ready("tf_token") is ready
    assert seen == [("/v1/status", "Bearer tf_token")]


def test_an_edge_that_nobody_listens_at_is_not_ready() -> None:
    with _server(200, b"{}") as (port, _):
        pass
    assert not Edge(bind="127.0.0.1", port=port).is_ready("tf_token")


def test_a_port_is_tried_at_the_address_that_is_published() -> None:
    with _server(200, b"{}") as (port, _):
        assert not Edge(bind="0.0.0.0", port=port).is_free(port)
        assert not Edge(bind="127.0.0.1", port=port).is_free(port)


@contextmanager
def _server(status: int, body: bytes) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    seen: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
