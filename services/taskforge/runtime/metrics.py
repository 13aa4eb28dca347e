"""Prometheus metrics of the mechanics, and the little HTTP server that shows them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import Counter, Gauge, Histogram, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_READY = Gauge("taskforge_ready", "1 while the service wants work.")

BATCH_ITEMS = Histogram(
    "taskforge_batch_items",
    "Items a batch took along.",
    ["batch"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
BATCH_SECONDS = Histogram("taskforge_batch_seconds", "Seconds a batch took.", ["batch"])
LOOP_FAILURES = Counter("taskforge_loop_failures", "Ticks of background loops that failed.", ["loop"])
RPC_SECONDS = Histogram("taskforge_rpc_seconds", "Seconds an RPC took, by method.", ["method"])
RPC_ERRORS = Counter(
    "taskforge_rpc_errors", "RPCs that ended with an error, by method and reason.", ["method", "reason"]
)


_DAY_SECONDS = 86_400.0

_is_ready = threading.Event()
_metrics = make_wsgi_app()


def report_ready(ready: bool) -> None:
    """Set what /healthz and the gauge say."""
    _READY.set(ready)
    (_is_ready.set if ready else _is_ready.clear)()


def serve_metrics(listen: str) -> None:
    """Serve /metrics and /healthz on `host:port` from a daemon thread; an empty address serves nothing.

    /healthz answers what the gRPC health service answers, for checks that must be cheap: 200 when ready, else 503.
    """
    if not listen:
        return
    host, _, port = listen.rpartition(":")
    server = make_server(host, int(port), _answer, handler_class=_QuietHandler)
    # Nothing ever shuts it down, so that it need not look twice a second whether somebody has.
    threading.Thread(target=server.serve_forever, args=(_DAY_SECONDS,), name="metrics", daemon=True).start()


class _QuietHandler(WSGIRequestHandler):
    """Scrapes are not worth a line each."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ.get("PATH_INFO") != "/healthz":
        answer: Iterable[bytes] = _metrics(environ, start_response)
        return answer
    ready = _is_ready.is_set()
    start_response("200 OK" if ready else "503 Service Unavailable", [("content-type", "text/plain")])
    return [b"ready\n" if ready else b"not ready\n"]
