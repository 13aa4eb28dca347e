"""The scheduler's composition root."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from taskforge.bus.producer import Producer, make_producer
from taskforge.domain.errors import Unavailable
from taskforge.internal.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from taskforge.runtime.config import load
from taskforge.runtime.internal_auth import internal_authenticator
from taskforge.runtime.loop import SELDOM_SECONDS, Loop
from taskforge.runtime.process import run_service
from taskforge.runtime.server import Server
from taskforge.scheduler.admission import Admission
from taskforge.scheduler.claims import Claimer
from taskforge.scheduler.completions import Completer
from taskforge.scheduler.config import SchedulerConfig, read_config
from taskforge.scheduler.cron import Cron
from taskforge.scheduler.definitions import Definitions
from taskforge.scheduler.leases import Renewer
from taskforge.scheduler.maintenance import Maintenance
from taskforge.scheduler.memory import Memory
from taskforge.scheduler.operators import Operators
from taskforge.scheduler.service import Parts, SchedulerService
from taskforge.scheduler.starts import Starter
from taskforge.scheduler.sweeps import Sweeper
from taskforge.store.guard import Guard
from taskforge.store.pool import Database
from taskforge.store.runs import SESSION

_POOL_SIZE = 8
_TEND_SECONDS = 5.0  # old hints, and whether Redis is as it must be
_MAINTENANCE_SECONDS = 600.0


class Scheduler:
    """Wires the parts and runs the loops."""

    def __init__(self, config: SchedulerConfig) -> None:
        self._config = config
        self._database = Database(
            config.database_url, size=_POOL_SIZE, application="taskforge-scheduler", settings=SESSION
        )
        self._guard = Guard(self._database, allow_unsafe=config.allow_unsafe_database)
        self._hints: Producer = make_producer(config.redis_url)
        definitions, memory = Definitions(), Memory()
        self._admission = Admission(config.max_queued)
        self._starter = Starter(self._database, definitions, memory, self._admission)
        self._sweeper = Sweeper(
            self._database, definitions, self._hints, lease=config.lease, max_crashes=config.max_crashes
        )
        self._cron = Cron(self._database, definitions, self._starter, self._hints)
        self._maintenance = Maintenance(self._database)
        self._service = SchedulerService(
            Parts(
                database=self._database,
                hints=self._hints,
                starter=self._starter,
                claimer=Claimer(self._database, definitions, memory, lease=config.lease),
                completer=Completer(self._database, definitions, memory, lease=config.lease),
                renewer=Renewer(self._database, lease=config.lease),
                operators=Operators(self._database, definitions, lease=config.lease),
                retry_in=self._retry_in,
            )
        )
        self._server = Server(config.process.listen, internal_authenticator(config.process.internal_token))
        self._leases = Loop("leases", self._sweeper.expire_leases, interval=SELDOM_SECONDS)
        self._deadlines = Loop("deadlines", self._sweeper.stop_overdue_runs, interval=SELDOM_SECONDS)
        self._rehints = Loop("hints", self._sweeper.rehint, interval=_TEND_SECONDS)
        self._retries = Loop("retries", self._queue_retries, interval=SELDOM_SECONDS)
        self._schedules = Loop("schedules", self._fire_schedules, interval=SELDOM_SECONDS)
        self._loops = [
            Loop("look", self._tracked(self._look), interval=config.sweep_seconds),
            Loop("maintenance", self._maintenance.tick, interval=_MAINTENANCE_SECONDS),
            self._leases,
            self._deadlines,
            self._rehints,
            self._retries,
            self._schedules,
        ]

    async def start(self) -> None:
        """Serve, and begin to sweep. Readiness follows the database."""
        add_SchedulerServiceServicer_to_server(self._service, self._server.services)
        await self._server.set_ready(False)
        await self._hints.start()
        await self._server.start()
        for loop in self._loops:
            loop.start()

    async def stop(self) -> None:
        """Stop the loops, let calls end, write what was taken in, close everything."""
        for loop in self._loops:
            await loop.stop()
        await self._server.stop(self._config.process.drain_seconds)
        await self._service.drain()
        await self._hints.close()
        await self._database.close()

    def _tracked(self, tick: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        """Let readiness follow whether the database is as it must be and a look gets through."""

        async def tracked() -> object:
            try:
                await self._guard.check()
                result = await tick()
            except Unavailable:
                await self._server.set_ready(False)
                raise
            await self._server.set_ready(True)
            return result

        return tracked

    async def _look(self) -> None:
        """Wake what has something to do. While nothing has, this is all that the database is asked each second."""
        found = await self._admission.look(self._sweeper.look)
        for loop, has_work in (
            (self._leases, found.expired),
            (self._deadlines, found.overdue),
            (self._rehints, found.unheard),
        ):
            if has_work:
                loop.wake()
        self._retry_in(found.retry_in)
        self._wake_in(self._schedules, await self._cron.look())

    async def _queue_retries(self) -> None:
        await self._sweeper.queue_due_retries()
        self._retry_in(await self._sweeper.seconds_to_next_retry())

    async def _fire_schedules(self) -> None:
        await self._cron.tick()
        self._wake_in(self._schedules, await self._cron.look())

    def _retry_in(self, seconds: float | None) -> None:
        self._wake_in(self._retries, seconds)

    def _wake_in(self, loop: Loop, seconds: float | None) -> None:
        """Wake a loop when something is due before the next look, so that being on time needs no fast polling."""
        if seconds is not None and seconds < self._config.sweep_seconds:
            # The database's clock decides; a millisecond more makes sure that it agrees.
            loop.wake_in(max(seconds, 0.0) + 0.001)


def main() -> None:
    """Run the scheduler until a signal."""
    config = load(read_config, os.environ)
    run_service("scheduler", config.process, lambda: Scheduler(config))
