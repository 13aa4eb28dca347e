"""The executor's composition root."""

from __future__ import annotations

import asyncio
import os
import socket

import structlog

from taskforge.bus.consumer import Consumer, make_consumer
from taskforge.executor.actions import build_actions
from taskforge.executor.carrier import Carrier
from taskforge.executor.config import ExecutorConfig, read_config
from taskforge.executor.definitions import Definitions
from taskforge.executor.evaluation import Evaluator
from taskforge.executor.heartbeat import Heartbeat
from taskforge.executor.holdings import Holdings, Signal
from taskforge.executor.reporting import Completer, LogWriter
from taskforge.executor.scheduler_client import SchedulerClient
from taskforge.executor.secrets_cache import SecretCache
from taskforge.executor.step_runner import StepRunner
from taskforge.executor.web.client import Client
from taskforge.executor.web.egress import EgressPolicy
from taskforge.executor.worker import Worker
from taskforge.failpoints import Point, reach
from taskforge.runtime.client import Peer
from taskforge.runtime.config import load
from taskforge.runtime.ids import new_id
from taskforge.runtime.internal_auth import internal_authenticator
from taskforge.runtime.loop import Loop
from taskforge.runtime.process import run_service
from taskforge.runtime.server import Server
from taskforge.sandbox.pool import SandboxPool
from taskforge.security.keyring import KeyRing

_READINESS_SECONDS = 5.0
_RELEASE_SECONDS = 5.0  # for handing back what did not end in time

log = structlog.get_logger()


class Executor:
    """Wires the parts; owns the order in which they start and stop."""

    def __init__(self, config: ExecutorConfig, keyring: KeyRing) -> None:
        self._config = config
        self._id = executor_id = new_id()
        self._peer = Peer(config.scheduler, config.process.internal_token, unavailable_reason="SCHEDULER_UNAVAILABLE")
        scheduler = SchedulerClient(self._peer, executor_id=executor_id, name=f"{socket.gethostname()}:{os.getpid()}")
        self._consumer: Consumer = make_consumer(config.redis_url)
        self._client = Client(EgressPolicy(allow=config.http_allow, deny=config.http_deny))
        self._sandbox = SandboxPool()
        self._holdings = Holdings()
        self._heartbeat = Heartbeat(self._holdings, scheduler)
        self._completer = Completer(scheduler)
        evaluator = Evaluator(self._sandbox)
        self._carrier = Carrier(
            definitions=Definitions(scheduler),
            runner=StepRunner(
                evaluator=evaluator,
                secrets=SecretCache(scheduler, keyring),
                actions=build_actions(evaluator, self._client),
            ),
            completer=self._completer,
            logs=LogWriter(scheduler),
            holdings=self._holdings,
        )
        self._worker = Worker(
            slots=config.slots,
            consumer=self._consumer,
            scheduler=scheduler,
            holdings=self._holdings,
            carrier=self._carrier,
            on_hearing=self._on_hearing,
        )
        self._server = Server(config.process.listen, internal_authenticator(config.process.internal_token))
        self._readiness = Loop("readiness", self._check_readiness, interval=_READINESS_SECONDS)
        self._is_ready = False
        self._draining = False

    async def start(self) -> None:
        """Serve health, and begin to look for work. Readiness follows whether the scheduler answers."""
        await self._server.set_ready(False)
        await self._server.start()
        self._heartbeat.start()
        self._worker.start()
        self._readiness.start()
        # A run's history names executors by id; this line says which process one is.
        log.info("executor_ready", executor=str(self._id), pid=os.getpid(), slots=self._config.slots)

    async def stop(self) -> None:
        """Take no more work, let steps end while their leases are kept, hand back the rest, close everything."""
        self._draining = True
        await self._server.set_ready(False)
        await self._readiness.stop()
        self._carrier.accepts_more = False
        await self._worker.stop()
        await self._drain()
        await self._heartbeat.stop()
        await self._completer.drain()
        await self._consumer.close()
        await self._client.close()
        await self._sandbox.close()
        await self._peer.close()
        await self._server.stop(0)

    async def _drain(self) -> None:
        await reach(Point.DRAINING)
        await self._wait_for_steps(self._config.process.drain_seconds)
        left = list(self._holdings)
        if left:
            log.info("steps_released", count=len(left))
        for holding in left:
            holding.interrupt(Signal.RELEASE)
        await self._wait_for_steps(_RELEASE_SECONDS)
        for holding in self._holdings:
            log.warning("step_abandoned", run=holding.lease.run_id.hex(), step=holding.lease.step)
            if holding.task is not None:
                holding.task.cancel()

    async def _wait_for_steps(self, seconds: float) -> None:
        tasks = [holding.task for holding in self._holdings if holding.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def _on_hearing(self, heard: bool) -> None:
        if heard != self._is_ready:
            self._readiness.wake()

    async def _check_readiness(self) -> None:
        ready = self._worker.is_hearing and not self._draining
        if ready != self._is_ready:
            self._is_ready = ready
            await self._server.set_ready(ready)


def main() -> None:
    """Run the executor until a signal."""
    config = load(read_config, os.environ)
    keyring = config.keyring
    if keyring is None:
        raise SystemExit(2)  # a fault has been reported
    run_service("executor", config.process, lambda: Executor(config, keyring))
