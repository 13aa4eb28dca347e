"""The ingest's composition root."""

from __future__ import annotations

import os
from contextlib import suppress

from taskforge.domain.errors import Unavailable
from taskforge.ingest.config import IngestConfig, read_config
from taskforge.ingest.receiver import Receiver
from taskforge.ingest.rejections import RejectionQuota
from taskforge.ingest.service import HookService, authenticate
from taskforge.ingest.starts import DeliveryStarts
from taskforge.ingest.webhooks import Webhooks
from taskforge.runtime.client import Peer
from taskforge.runtime.config import load
from taskforge.runtime.loop import SELDOM_SECONDS, Loop
from taskforge.runtime.process import run_service
from taskforge.runtime.run_starts import RunStarts
from taskforge.runtime.server import Server
from taskforge.store.deliveries import Deliveries
from taskforge.store.guard import Guard
from taskforge.store.pool import BY_KEY, Database
from taskforge.v1.hook_service_pb2_grpc import add_HookServiceServicer_to_server

_POOL_SIZE = 6
_LOST_SECONDS = 2.0
_NOTES_SECONDS = 0.25  # after a start: others that are started meanwhile are noted with it
_KEYS_SECONDS = 60.0


class Ingest:
    """Wires the parts and runs the loops."""

    def __init__(self, config: IngestConfig) -> None:
        assert config.keyring is not None  # noqa: S101 -- the configuration was checked
        self._config = config
        self._database = Database(config.database_url, size=_POOL_SIZE, application="taskforge-ingest", settings=BY_KEY)
        self._guard = Guard(self._database, allow_unsafe=config.allow_unsafe_database)
        self._scheduler = Peer(
            config.scheduler, config.process.internal_token, unavailable_reason="SCHEDULER_UNAVAILABLE"
        )
        self._run_starts = RunStarts(self._scheduler)
        deliveries = Deliveries(self._database)
        webhooks = Webhooks(deliveries, config.keyring)
        self._starts = DeliveryStarts(deliveries, webhooks, self._run_starts, on_started=self._note_soon)
        self._receiver = Receiver(deliveries, webhooks, self._starts, quota=RejectionQuota())
        self._server = Server(config.process.listen, authenticate)
        self._notes = Loop("started_deliveries", self._starts.note_started, interval=SELDOM_SECONDS)
        self._loops = [
            Loop("lost_deliveries", self._start_lost, interval=_LOST_SECONDS),
            self._notes,
            Loop("webhook_keys", self._starts.forget_keys, interval=_KEYS_SECONDS),
        ]

    async def start(self) -> None:
        """Serve, and begin to sweep. Readiness follows the database."""
        add_HookServiceServicer_to_server(HookService(self._receiver), self._server.services)
        await self._server.set_ready(False)
        await self._server.start()
        for loop in self._loops:
            loop.start()

    async def stop(self) -> None:
        """Stop the loops, let calls end, finish what was begun, close everything."""
        for loop in self._loops:
            await loop.stop()
        await self._server.stop(self._config.process.drain_seconds)
        await self._receiver.drain()
        await self._run_starts.drain()
        # Otherwise the next ingest finds them RECEIVED, starts them again, and learns that their runs exist.
        with suppress(Unavailable):
            await self._starts.note_started()
        await self._scheduler.close()
        await self._database.close()

    def _note_soon(self) -> None:
        self._notes.wake_in(_NOTES_SECONDS)

    async def _start_lost(self) -> None:
        try:
            await self._guard.check()
            await self._starts.start_lost()
        except Unavailable as error:
            # Without the scheduler, deliveries are still stored, and their senders told to come again.
            await self._server.set_ready(error.reason != "STORE_UNAVAILABLE")
            raise
        await self._server.set_ready(True)


def main() -> None:
    """Run the ingest until a signal."""
    config = load(read_config, os.environ)
    run_service("ingest", config.process, lambda: Ingest(config))
