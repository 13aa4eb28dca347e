"""What people ask of the scheduler: stop a run, run steps again, close a dead letter. Each is audited first."""

from __future__ import annotations

from uuid import UUID

from taskforge.gateway.names import dead_letter_name, run_name
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.runtime.client import Peer
from taskforge.runtime.guard import caller
from taskforge.runtime.item_errors import raise_for
from taskforge.store import audit
from taskforge.store.audit import AuditEntry
from taskforge.store.pool import Database


class Operations:
    """Calls of the scheduler on behalf of the current caller. Refusals of the scheduler are raised."""

    def __init__(self, database: Database, scheduler: Peer) -> None:
        self._database = database
        self._scheduler = scheduler
        self._stub = SchedulerServiceStub(scheduler.channel)

    async def cancel_run(self, run_id: UUID, comment: str, *, seconds: float) -> None:
        """Ask a run to stop."""
        await self._audit("run.cancel", run_name(run_id), comment)
        request = pb.CancelRunsRequest(run_ids=[run_id.bytes], actor=caller.get(), comment=comment)
        raise_for((await self._scheduler.call(self._stub.CancelRuns, request, timeout=seconds)).results)

    async def retry_run(self, run_id: UUID, *, seconds: float) -> None:
        """Run the failed and cancelled steps of a run again."""
        await self._audit("run.retry", run_name(run_id), "")
        await self._redrive(pb.RedriveItem(run_id=run_id.bytes), "", seconds)

    async def redrive(self, dead_letter_id: UUID, comment: str, *, seconds: float) -> None:
        """Run the step of a dead letter again."""
        await self._audit("dead_letter.redrive", dead_letter_name(dead_letter_id), comment)
        await self._redrive(pb.RedriveItem(dead_letter_id=dead_letter_id.bytes), comment, seconds)

    async def discard(self, dead_letter_id: UUID, comment: str, *, seconds: float) -> None:
        """Close a dead letter without running anything."""
        await self._audit("dead_letter.discard", dead_letter_name(dead_letter_id), comment)
        request = pb.DiscardDeadLettersRequest(
            dead_letter_ids=[dead_letter_id.bytes], actor=caller.get(), comment=comment
        )
        raise_for((await self._scheduler.call(self._stub.DiscardDeadLetters, request, timeout=seconds)).results)

    async def _redrive(self, item: pb.RedriveItem, comment: str, seconds: float) -> None:
        request = pb.RedriveRequest(items=[item], actor=caller.get(), comment=comment)
        raise_for((await self._scheduler.call(self._stub.Redrive, request, timeout=seconds)).results)

    async def _audit(self, action: str, name: str, comment: str) -> None:
        detail = {"comment": comment} if comment else {}
        await audit.record(self._database, AuditEntry(actor=caller.get(), action=action, object=name, detail=detail))
