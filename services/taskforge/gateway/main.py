"""The gateway's composition root."""

from __future__ import annotations

import os
import time

from taskforge.domain.errors import Unavailable
from taskforge.gateway.applying import Applier
from taskforge.gateway.auth import TokenTable
from taskforge.gateway.compiler import Compiler
from taskforge.gateway.config import GatewayConfig, read_config
from taskforge.gateway.dead_letters import DeadLetterParts, DeadLetterService
from taskforge.gateway.invariants import InvariantChecks
from taskforge.gateway.names import IdSpace
from taskforge.gateway.operations import Operations
from taskforge.gateway.revisions import Revisions
from taskforge.gateway.runs import RunParts, RunService
from taskforge.gateway.schedules import ScheduleService
from taskforge.gateway.secrets import SecretService
from taskforge.gateway.system import SystemService
from taskforge.gateway.watching import Changes
from taskforge.gateway.webhooks import WebhookService
from taskforge.gateway.workflows import WorkflowService
from taskforge.runtime.client import Peer
from taskforge.runtime.config import load
from taskforge.runtime.loop import Loop
from taskforge.runtime.process import run_service
from taskforge.runtime.run_starts import RunStarts
from taskforge.runtime.server import Server
from taskforge.security.keyring import KeyRing
from taskforge.store.dead_letter_reads import DeadLetterReads
from taskforge.store.definitions import Definitions
from taskforge.store.guard import Guard
from taskforge.store.invariant_reads import InvariantReads
from taskforge.store.pool import IN_ORDER, Database
from taskforge.store.run_reads import RunReads
from taskforge.store.secrets import Secrets
from taskforge.store.triggers import Triggers
from taskforge.v1.dead_letter_service_pb2_grpc import add_DeadLetterServiceServicer_to_server
from taskforge.v1.run_service_pb2_grpc import add_RunServiceServicer_to_server
from taskforge.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server
from taskforge.v1.secret_service_pb2_grpc import add_SecretServiceServicer_to_server
from taskforge.v1.system_service_pb2_grpc import add_SystemServiceServicer_to_server
from taskforge.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from taskforge.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server

_POOL_SIZE = 6
_REFRESH_SECONDS = 2.0
#: A database that is away for less than this, as in a failover, does not take the gateway out of service.
_PATIENCE_SECONDS = 5.0


class Gateway:
    """Wires the parts. Serves at once; ready while the database is as it must be and the tokens are known."""

    def __init__(self, config: GatewayConfig, keyring: KeyRing) -> None:
        self._config = config
        self._database = Database(
            config.database_url, size=_POOL_SIZE, application="taskforge-gateway", settings=IN_ORDER
        )
        self._guard = Guard(self._database, allow_unsafe=config.allow_unsafe_database)
        self._scheduler = Peer(
            config.scheduler, config.process.internal_token, unavailable_reason="SCHEDULER_UNAVAILABLE"
        )
        self._tokens = TokenTable(self._database, admin_digest=config.admin_digest)
        self._server = Server(config.process.listen, self._tokens.authenticate)
        self._compiler = Compiler()
        self._starter = RunStarts(self._scheduler)
        self._reads = RunReads(self._database)
        self._changes = Changes(self._reads)
        self._refresh = Loop("tokens", self._tick, interval=_REFRESH_SECONDS)
        self._last_contact = float("-inf")
        self._add_definition_services()
        self._add_run_services()
        add_SecretServiceServicer_to_server(SecretService(Secrets(self._database), keyring), self._server.services)
        checks = InvariantChecks(InvariantReads(self._database), self._revisions)
        system = SystemService(self._database, self._scheduler, checks)
        add_SystemServiceServicer_to_server(system, self._server.services)

    async def start(self) -> None:
        """Listen; become ready in the background."""
        await self._server.set_ready(False)
        await self._server.start()
        self._refresh.start()

    async def stop(self) -> None:
        """Send watchers away, let calls end, then let go of everything."""
        await self._refresh.stop()
        self._changes.stop()
        await self._server.stop(self._config.process.drain_seconds)
        await self._starter.drain()
        await self._scheduler.close()
        await self._database.close()
        self._compiler.close()

    def _add_definition_services(self) -> None:
        definitions = Definitions(self._database)
        self._revisions = Revisions(definitions, self._compiler)
        workflows = WorkflowService(definitions, self._revisions, Applier(definitions, self._compiler))
        triggers = Triggers(self._database)
        add_WorkflowServiceServicer_to_server(workflows, self._server.services)
        add_ScheduleServiceServicer_to_server(ScheduleService(triggers), self._server.services)
        add_WebhookServiceServicer_to_server(WebhookService(triggers), self._server.services)

    def _add_run_services(self) -> None:
        letters = DeadLetterReads(self._database)
        operations = Operations(self._database, self._scheduler)
        run_ids = IdSpace(
            collection="runs",
            noun="run",
            not_found="RUN_NOT_FOUND",
            ambiguous="RUN_ID_AMBIGUOUS",
            find_between=self._reads.find_between,
        )
        letter_ids = IdSpace(
            collection="deadLetters",
            noun="dead letter",
            not_found="DEAD_LETTER_NOT_FOUND",
            ambiguous="FIELD_INVALID",
            find_between=letters.find_between,
        )
        runs = RunParts(
            reads=self._reads,
            ids=run_ids,
            revisions=self._revisions,
            starter=self._starter,
            changes=self._changes,
            operations=operations,
        )
        dead_letters = DeadLetterParts(reads=letters, ids=letter_ids, run_ids=run_ids, operations=operations)
        add_RunServiceServicer_to_server(RunService(runs), self._server.services)
        add_DeadLetterServiceServicer_to_server(DeadLetterService(dead_letters), self._server.services)

    async def _tick(self) -> None:
        """Look at the database and read the tokens; readiness follows from whether that works."""
        try:
            await self._guard.check()
            await self._tokens.refresh()
        except Unavailable:
            if time.monotonic() - self._last_contact > _PATIENCE_SECONDS:
                await self._server.set_ready(False)
            raise
        self._last_contact = time.monotonic()
        await self._server.set_ready(True)


def main() -> None:
    """Run until a signal."""
    config = load(read_config, os.environ)
    keyring = config.keyring
    assert keyring is not None  # noqa: S101 -- without one, `load` has reported the fault and left
    run_service("gateway", config.process, lambda: Gateway(config, keyring))


if __name__ == "__main__":
    main()
