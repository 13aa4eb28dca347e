"""Keeps leases alive, and learns from the answers which of them are lost or to be stopped."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

import structlog

from taskforge.domain.errors import TaskforgeError
from taskforge.executor.holdings import Holding, Holdings, Signal, lease_fields
from taskforge.executor.metrics import LEASES_LOST
from taskforge.executor.scheduler_client import SchedulerClient
from taskforge.failpoints import Point, reach
from taskforge.internal.v1.scheduler_service_pb2 import Lease, RenewLeasesResponse

_RESULT = RenewLeasesResponse.Result
_LONGEST_SECONDS = 2.0  #: heartbeats also tell which runs are to stop, and whoever cancels a run waits for that
_RENEWALS_A_LEASE = 3
_SOON = 0.25  # of the usual interval

log = structlog.get_logger()


class Heartbeat:
    """Renews every held lease in one call, three times a lease or more often, whatever its holder is doing."""

    def __init__(self, holdings: Holdings, scheduler: SchedulerClient) -> None:
        self._holdings = holdings
        self._scheduler = scheduler
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to renew."""
        self._task = asyncio.create_task(self._run(), name="heartbeat")

    async def stop(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def tick(self) -> bool:
        """Renew once. False if something has to be asked again soon."""
        held = self._still_good()
        if not held:
            return True
        await reach(Point.RENEWING)
        asked_at = monotonic()
        try:
            results = await self._scheduler.renew([lease for _, lease in held], timeout=max(self._interval, 1.0))
        except TaskforgeError as error:
            log.warning("leases_not_renewed", count=len(held), reason=error.reason)
            return False
        for (holding, lease), result in zip(held, results, strict=True):
            if holding.lease is lease:  # else the step has ended meanwhile
                _apply(holding, result, asked_at)
        return _RESULT.RESULT_BUSY not in results

    @property
    def _interval(self) -> float:
        return min((self._holdings.lease_seconds or 0.0) / _RENEWALS_A_LEASE, _LONGEST_SECONDS)

    def _still_good(self) -> list[tuple[Holding, Lease]]:
        for holding in self._holdings:
            if holding.has_run_out:
                _lose(holding, by="clock")
        return [(holding, holding.lease) for holding in self._holdings if holding.signal is not Signal.LOST]

    async def _run(self) -> None:
        await self._holdings.shortened.wait()
        while True:
            try:
                done = await self.tick()
            except Exception:
                # Without heartbeats every step here would be lost one by one.
                log.exception("heartbeat_failed")
                done = False
            self._holdings.shortened.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval * (1.0 if done else _SOON)):
                    await self._holdings.shortened.wait()


def _apply(holding: Holding, result: int, asked_at: float) -> None:
    match result:
        case _RESULT.RESULT_RENEWED | _RESULT.RESULT_STOP:
            holding.renewed(asked_at=asked_at)
            if result == _RESULT.RESULT_STOP:
                holding.interrupt(Signal.STOP)
        case _RESULT.RESULT_LOST:
            _lose(holding, by="scheduler")


def _lose(holding: Holding, *, by: str) -> None:
    """Give up what the scheduler says is gone, or what our own clock, which counts from before the grant, fears is."""
    if holding.signal is not Signal.LOST:
        LEASES_LOST.inc()
        log.debug("lease_lost", **lease_fields(holding.lease), by=by)
        holding.interrupt(Signal.LOST)
