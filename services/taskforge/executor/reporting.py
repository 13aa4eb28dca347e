"""What an executor did reaches the scheduler here: merged with what others did, and asked again until it is certain."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import structlog

from taskforge.domain.errors import TaskforgeError
from taskforge.executor.holdings import Holding, lease_fields
from taskforge.executor.metrics import LOG_LINES_REFUSED
from taskforge.executor.patience import insist, pause_seconds
from taskforge.executor.scheduler_client import SchedulerClient
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.batcher import Batcher

_MAX_REFUSALS = 3
_KIND = pb.StretchResult.Kind

log = structlog.get_logger()


class Completer:
    """Reports stretches. The answer is definite; without one the lease is gone."""

    def __init__(self, scheduler: SchedulerClient) -> None:
        # One call under way: the next one fills meanwhile, and both sides pay more for a call than for what is in it.
        self._batcher: Batcher[pb.Stretch, pb.StretchResult] = Batcher(
            "report_stretches", scheduler.complete, max_items=100
        )
        self._tells_answers = log.is_enabled_for(logging.DEBUG)

    async def complete(self, stretch: pb.Stretch, holding: Holding) -> pb.StretchResult:
        """Report a stretch. Raises LeaseLost.

        A scheduler that answers with an error of its own may be faulty, or may be unable to store this very result. So
        it is asked a few times, and then treated as having refused: had the result been stored after all, the failure
        that is reported next would be told that its lease is stale.
        """
        refusals = asks = 0
        asked_at = time.monotonic()

        async def ask() -> pb.StretchResult:
            nonlocal asked_at, asks
            asked_at = time.monotonic()
            asks += 1
            return await self._batcher.submit(stretch)

        while True:
            try:
                result = await insist(ask, holding)
            except TaskforgeError as error:
                refusals += 1
                log.error("stretch_refused", run=stretch.lease.run_id.hex(), reason=error.reason, times=refusals)
                if refusals >= _MAX_REFUSALS:
                    refused = pb.ItemError(reason=error.reason, message=error.message)
                    return pb.StretchResult(kind=pb.StretchResult.KIND_REJECTED, error=refused)
            else:
                if self._tells_answers:
                    _tell_answer(stretch, result, asks=asks, seconds=time.monotonic() - asked_at)
                return result
            await asyncio.sleep(pause_seconds(refusals))

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        await self._batcher.drain()


def _tell_answer(stretch: pb.Stretch, result: pb.StretchResult, *, asks: int, seconds: float) -> None:
    fields = lease_fields(stretch.lease)
    log.debug("stretch_answered", **fields, answer=_KIND.Name(result.kind), asks=asks, seconds=round(seconds, 6))


class LogWriter:
    """Appends log lines before the step that wrote them is completed."""

    def __init__(self, scheduler: SchedulerClient) -> None:
        self._scheduler = scheduler
        self._batcher: Batcher[Sequence[pb.LogLine], None] = Batcher("append_logs", self._flush, max_items=100)

    async def append(self, lines: Sequence[pb.LogLine], holding: Holding) -> None:
        """Append lines. Raises LeaseLost. Lines that the scheduler refuses are dropped: a log fails no step."""
        try:
            await insist(lambda: self._batcher.submit(lines), holding)
        except TaskforgeError as error:
            LOG_LINES_REFUSED.inc(len(lines))
            log.warning("log_lines_refused", run=lines[0].run_id.hex(), reason=error.reason, message=error.message)

    async def _flush(self, batch: Sequence[Sequence[pb.LogLine]]) -> Sequence[None]:
        await self._scheduler.append_logs([line for lines in batch for line in lines])
        return [None] * len(batch)
