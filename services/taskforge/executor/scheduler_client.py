"""The scheduler as the executor sees it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from taskforge.bus.streams import StepKey
from taskforge.failpoints import Point, reach
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.runtime.client import Peer

ANSWER_SECONDS = 10.0  #: an answer that takes longer is not waited for
_MAX_CALL_BYTES = 16 * 1024 * 1024  # a quarter of what one message may have


class SchedulerClient:
    """Calls in batches. Every method may raise Unavailable, after which the outcome is unknown."""

    def __init__(self, peer: Peer, *, executor_id: UUID, name: str) -> None:
        self._peer = peer
        self._stub = SchedulerServiceStub(peer.channel)
        self._executor_id = executor_id.bytes
        self._name = name

    async def claim(
        self, hints: Sequence[StepKey], *, poll: bool, limit: int, held: Sequence[pb.Lease]
    ) -> Sequence[pb.Grant]:
        """Lease steps.

        Args:
            hints: steps to lease.
            poll: whether to lease others too, and to grant again what is leased here already and not in `held`.
            limit: the most to lease.
            held: leases that must not be granted again; in a poll, all that are known here.
        """
        request = pb.ClaimStepsRequest(
            executor_id=self._executor_id,
            executor_name=self._name,
            hints=[pb.StepRef(run_id=run_id.bytes, step=step) for run_id, step in hints],
            poll=poll,
            limit=limit,
            held=pb.HeldLeases(leases=held),
        )
        response: pb.ClaimStepsResponse = await self._peer.call(self._stub.ClaimSteps, request, timeout=ANSWER_SECONDS)
        return response.grants

    async def renew(self, leases: Sequence[pb.Lease], *, timeout: float) -> Sequence[int]:
        """Extend leases; one result a lease."""
        request = pb.RenewLeasesRequest(executor_id=self._executor_id, leases=leases)
        response: pb.RenewLeasesResponse = await self._peer.call(
            self._stub.RenewLeases, request, timeout=min(timeout, ANSWER_SECONDS)
        )
        return response.results

    async def complete(self, stretches: Sequence[pb.Stretch]) -> list[pb.StretchResult]:
        """Report stretches, in as many calls as their size asks for."""
        results: list[pb.StretchResult] = []
        for batch in _split(stretches):
            request = pb.CompleteStepsRequest(executor_id=self._executor_id, stretches=batch)
            response: pb.CompleteStepsResponse = await self._peer.call(
                self._stub.CompleteSteps, request, timeout=ANSWER_SECONDS
            )
            await reach(Point.COMPLETION_COMMITTED)
            results.extend(response.results)
        return results

    async def append_logs(self, lines: Sequence[pb.LogLine]) -> None:
        """Append log lines."""
        await self._peer.call(self._stub.AppendLogs, pb.AppendLogsRequest(lines=lines), timeout=ANSWER_SECONDS)

    async def read_revision(self, revision_id: bytes) -> pb.Revision | None:
        """Read a definition."""
        request = pb.GetRevisionsRequest(revision_ids=[revision_id])
        response: pb.GetRevisionsResponse = await self._peer.call(
            self._stub.GetRevisions, request, timeout=ANSWER_SECONDS
        )
        return response.revisions[0] if response.revisions else None

    async def read_secrets(self, names: Sequence[str]) -> Sequence[pb.SealedSecret]:
        """Read sealed secrets; unknown ones are left out."""
        request = pb.GetSecretsRequest(names=names)
        response: pb.GetSecretsResponse = await self._peer.call(self._stub.GetSecrets, request, timeout=ANSWER_SECONDS)
        return response.secrets


def _split(stretches: Sequence[pb.Stretch]) -> list[list[pb.Stretch]]:
    """Batches that fit into a message each. A stretch alone always does: the carrier bounds it."""
    batches: list[list[pb.Stretch]] = [[]]
    size = 0
    for stretch in stretches:
        size += stretch.ByteSize()
        if size > _MAX_CALL_BYTES and batches[-1]:
            batches.append([])
            size = stretch.ByteSize()
        batches[-1].append(stretch)
    return batches
