"""Starts of runs on their way to the scheduler: those that wait at the same time travel together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from taskforge.domain.errors import ResourceExhausted, TaskforgeError, Unavailable
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.runtime.batcher import Batcher
from taskforge.runtime.client import Peer
from taskforge.runtime.item_errors import to_error

_CALL_SECONDS = 10.0
#: A scheduler that restarts is away for about a second; callers need not hear of it.
_RETRY_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.05
_MAX_WAITING = 5_000
_MAX_CALL_BYTES = 16 * 1024 * 1024
_CONCURRENCY = 1


class RunStarts:
    """Sends StartRuns. A start may be sent again under its run id: the scheduler creates it once."""

    def __init__(self, scheduler: Peer) -> None:
        self._scheduler = scheduler
        self._stub = SchedulerServiceStub(scheduler.channel)
        self._batcher: Batcher[pb.StartRun, pb.StartRunResult] = Batcher(
            "start_runs", self._flush, concurrency=_CONCURRENCY
        )

    async def start(self, start: pb.StartRun, *, seconds: float) -> pb.StartRunResult:
        """Start a run, within `seconds`. After Unavailable nobody can say whether the run exists."""
        if self._batcher.waiting >= _MAX_WAITING:
            raise ResourceExhausted("QUEUE_FULL", "too many starts wait for the scheduler", retry_after=1)
        try:
            async with asyncio.timeout(seconds):
                return await self._batcher.submit(start)
        except TimeoutError as error:
            raise Unavailable(
                "SCHEDULER_UNAVAILABLE",
                "the scheduler did not answer in time; the run may have been started",
                hint="send the same request_id again to be sure that there is one run",
                retry_after=1,
            ) from error

    async def drain(self) -> None:
        """Wait until everything that was submitted has been answered."""
        await self._batcher.drain()

    async def _flush(self, starts: Sequence[pb.StartRun]) -> Sequence[pb.StartRunResult | TaskforgeError]:
        results: list[pb.StartRunResult | TaskforgeError] = []
        for chunk in _chunks(starts):
            answer = await self._send(pb.StartRunsRequest(runs=chunk))
            results.extend(to_error(result.error) if result.HasField("error") else result for result in answer.results)
        return results

    async def _send(self, request: pb.StartRunsRequest) -> pb.StartRunsResponse:
        give_up_at = time.monotonic() + _RETRY_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                response: pb.StartRunsResponse = await self._scheduler.call(
                    self._stub.StartRuns, request, timeout=_CALL_SECONDS
                )
            except Unavailable:
                if time.monotonic() + pause > give_up_at:
                    raise
            else:
                return response
            await asyncio.sleep(pause)
            pause *= 2


def _chunks(starts: Sequence[pb.StartRun]) -> Iterator[list[pb.StartRun]]:
    """Split a batch so that no call comes near the largest message."""
    chunk: list[pb.StartRun] = []
    size = 0
    for start in starts:
        length = len(start.inputs_json) + len(start.trigger_json)
        if chunk and size + length > _MAX_CALL_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(start)
        size += length
    if chunk:
        yield chunk
