"""Prometheus metrics of the mechanics, and the little HTTP server that shows them."""

from __future__ import annotations

from prometheus_client import Counter, Histogram, start_http_server

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


def serve_metrics(listen: str) -> None:
    """Serve /metrics on `host:port` from a daemon thread; an empty address serves nothing."""
    if not listen:
        return
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), addr=host)
