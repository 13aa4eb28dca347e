"""The SystemService: the installation itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.metadata import version

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from taskforge.domain.errors import Unavailable
from taskforge.gateway.convert import timestamp
from taskforge.gateway.deadlines import Context, seconds_left
from taskforge.gateway.invariants import InvariantChecks
from taskforge.runtime.client import Peer
from taskforge.store import status
from taskforge.store.pool import Database
from taskforge.store.status import StoreStatus
from taskforge.v1 import system_service_pb2 as pb
from taskforge.v1.system_service_pb2_grpc import SystemServiceServicer

_PART_SECONDS = 2.0  #: a part that takes longer to answer is not well
_VERSION = version("taskforge")


class SystemService(SystemServiceServicer):
    """See proto/taskforge/v1/system_service.proto."""

    def __init__(self, database: Database, scheduler: Peer, checks: InvariantChecks) -> None:
        self._database = database
        self._checks = checks
        self._health = health_pb2_grpc.HealthStub(scheduler.channel)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:  # noqa: N802
        """Read versions, the health of each part, and how much waits."""
        seconds = seconds_left(context, cap=_PART_SECONDS)
        store, scheduler = await asyncio.gather(self._store(seconds), self._scheduler(seconds))
        gateway = pb.Component(name="gateway", healthy=True, message=_VERSION)
        answer = pb.Status(version=_VERSION, time=timestamp(datetime.now(UTC)))
        if isinstance(store, StoreStatus):
            postgres = pb.Component(name="postgres", healthy=True, message=store.server_version)
            answer.MergeFrom(_counts(store))
        else:
            postgres = pb.Component(name="postgres", healthy=False, message=store)
        answer.components.extend([postgres, scheduler, gateway])
        return answer

    async def CheckInvariants(  # noqa: N802
        self, request: pb.CheckInvariantsRequest, context: Context
    ) -> pb.CheckInvariantsResponse:
        """Check what must hold over one page of runs or ticks."""
        return await self._checks.page(request)

    async def _store(self, seconds: float) -> StoreStatus | str:
        try:
            async with asyncio.timeout(seconds):
                return await status.read(self._database)
        except Unavailable as error:
            return error.message
        except TimeoutError:
            return f"no answer within {seconds:.1f} seconds"

    async def _scheduler(self, seconds: float) -> pb.Component:
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return pb.Component(name="scheduler", healthy=False, message=f"no answer: {error.details()}")
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return pb.Component(name="scheduler", healthy=serving, message="serving" if serving else "not ready")


def _counts(store: StoreStatus) -> pb.Status:
    return pb.Status(
        active_runs=store.active_runs,
        queued_steps=store.queued_steps,
        oldest_queued_seconds=store.oldest_queued_seconds,
        open_dead_letters=store.open_dead_letters,
        schema_version=store.schema_version,
    )
