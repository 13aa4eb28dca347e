"""The life of a service process: start, serve until a signal, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog
import uvloop

from taskforge.failpoints import switch_on
from taskforge.runtime.config import ProcessConfig
from taskforge.runtime.logging import configure_logging
from taskforge.runtime.metrics import serve_metrics
from taskforge.runtime.server import CannotListen

log = structlog.get_logger()


class Service(Protocol):
    """What a service's composition root offers."""

    async def start(self) -> None:
        """Begin to serve; return when ready or when readiness is being worked on in the background."""

    async def stop(self) -> None:
        """Drain within the configured time and release everything."""


def run_service(name: str, config: ProcessConfig, make: Callable[[], Service]) -> None:
    """Run a service until SIGTERM or SIGINT. A second signal ends the process at once.

    Args:
        name: the service's name in its logs.
        config: the common settings.
        make: builds the service; called inside the event loop, which gRPC objects belong to from their making.
    """
    configure_logging(name, log_format=config.log_format, level=config.log_level)
    if config.failpoints is not None:
        switch_on(config.failpoints, name)
    _take_longer_turns()
    try:
        _serve_metrics(config.metrics_listen)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(name, make))
    except CannotListen as error:
        print(f"cannot start: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _serve_metrics(listen: str) -> None:
    try:
        serve_metrics(listen)
    except OSError as error:
        raise CannotListen(f"cannot listen on {listen}: {error.strerror}") from error


async def _serve(name: str, make: Callable[[], Service]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    log.info("service_starting", pid=os.getpid())
    service = make()
    try:
        await service.start()
        _calm_the_collector()
        log.info("service_started")
        await stopping.wait()
        log.info("service_draining")
    finally:
        await service.stop()
        log.info("service_stopped", name=name)


def _take_longer_turns() -> None:
    """Do not interrupt whoever computes when something arrives here: on few cores services pass work on to each other.

    Batches fill up meanwhile, and caches stay warm. Where a core is free, this changes nothing.
    """
    if hasattr(os, "SCHED_BATCH"):  # Linux
        with suppress(OSError):  # where somebody has forbidden it, all is as it was
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _calm_the_collector() -> None:
    """Look for cycles seldom: what a request allocates is freed by counting, and what was imported never is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
