"""From a stored delivery to its run: started now, or again by whoever finds that nobody did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog

from taskforge.domain.errors import ResourceExhausted, TaskforgeError, Unavailable
from taskforge.ingest.judge import Accepted, judge
from taskforge.ingest.webhooks import Webhooks
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.run_starts import RunStarts
from taskforge.store.deliveries import Deliveries, StoredDelivery, Verdict

_START_SECONDS = 12.0
_LOST_AFTER = timedelta(seconds=5)
_LOST_PER_PASS = 100
_EXPIRED_KEYS_PER_PASS = 500
_ACCEPTED_PER_PASS = 1_000

log = structlog.get_logger()


class _Surprised(Unavailable):
    """The scheduler answered with a fault of its own. It may have come after the commit: the run may exist."""


class DeliveryStarts:
    """Starts runs of RECEIVED deliveries and notes that they exist.

    The run's id was made before the delivery was stored, so any number of starts of one delivery make one run. That is
    what keeps it single, not a key of the scheduler's: those would outlive a trigger's `dedupe.ttl`.
    """

    def __init__(
        self, deliveries: Deliveries, webhooks: Webhooks, starts: RunStarts, *, on_started: Callable[[], None]
    ) -> None:
        self._deliveries = deliveries
        self._webhooks = webhooks
        self._starts = starts
        self._on_started = on_started  #: there is something to note
        self._started: list[UUID] = []
        self._full_until = 0.0

    def refuse_if_full(self) -> None:
        """Raise QUEUE_FULL while the scheduler's last word was that: before anything is stored."""
        seconds = self._full_until - asyncio.get_running_loop().time()
        if seconds > 0:
            raise ResourceExhausted("QUEUE_FULL", "too many steps wait for an executor", retry_after=seconds)

    async def start(self, delivery_id: UUID, run: pb.StartRun) -> None:
        """Start a delivery's run. Returns once the run is durable.

        Raises:
            ResourceExhausted: QUEUE_FULL; the delivery has been taken back.
            Unavailable: nobody can say; the run is started later if it was not now.
        """
        try:
            await self._start(delivery_id, run)
        except Unavailable:
            raise
        except TaskforgeError as error:
            await self._deliveries.refuse(delivery_id, f"no run was started: {error.message}")
            raise

    async def finish(self, delivery_id: UUID) -> None:
        """See to it that a delivery that another call stored has its run.

        Raises:
            ResourceExhausted: QUEUE_FULL.
            Unavailable: nobody can say, or the other call took the delivery back.
        """
        delivery = await self._deliveries.read(delivery_id)
        if delivery is None or delivery.verdict is Verdict.ACCEPTED:
            return
        if delivery.verdict is not Verdict.RECEIVED or not await self._restart(delivery):
            raise Unavailable("STORE_UNAVAILABLE", "the first delivery was taken back; send it again", retry_after=1)

    async def start_lost(self) -> None:
        """Start what has been RECEIVED for too long: an ingest died, or the scheduler did not answer it."""
        handled = 0
        for delivery in await self._deliveries.find_unstarted(age=_LOST_AFTER, limit=_LOST_PER_PASS):
            try:
                started = await self._restart(delivery)
            except ResourceExhausted:
                break  # it stays RECEIVED: its sender may have been told nothing
            except _Surprised as error:
                log.error("lost_delivery_not_started", delivery=str(delivery.delivery_id), message=error.message)
                continue  # the next one may fare better
            handled += 1
            log.debug("lost_delivery_handled", delivery=str(delivery.delivery_id), started=started)
        if handled:
            log.info("lost_deliveries_handled", count=handled)

    async def note_started(self) -> None:
        """Write down which deliveries have their runs. One statement for many: no sender waits for it."""
        while self._started:
            batch = self._started[:_ACCEPTED_PER_PASS]
            await self._deliveries.accept(batch)
            del self._started[: len(batch)]

    async def forget_keys(self) -> None:
        """Delete keys whose time is over."""
        while await self._deliveries.delete_expired_keys(limit=_EXPIRED_KEYS_PER_PASS) == _EXPIRED_KEYS_PER_PASS:
            pass

    async def _restart(self, delivery: StoredDelivery) -> bool:
        """Start a RECEIVED delivery; False: it can never be started, and was taken back."""
        hook = await self._webhooks.hook(delivery.revision_id, delivery.trigger) if delivery.trigger else None
        if hook is None:
            await self._deliveries.refuse(delivery.delivery_id, "the webhook was removed before its run was started")
            return False
        judgement = judge(hook, delivery.content, delivery.received_at)
        if not isinstance(judgement, Accepted):
            await self._deliveries.refuse(delivery.delivery_id, "its run could not be started again after a crash")
            return False
        assert delivery.run_id is not None  # noqa: S101 -- the schema sees to it for RECEIVED
        run = start_message(delivery.run_id, delivery.delivery_id, hook.revision_id, hook.plan.trigger.id, judgement)
        try:
            await self._start(delivery.delivery_id, run)
        except (Unavailable, ResourceExhausted):
            raise
        except TaskforgeError as error:
            await self._deliveries.refuse(delivery.delivery_id, f"no run was started: {error.message}")
            return False
        return True

    async def _start(self, delivery_id: UUID, run: pb.StartRun) -> None:
        try:
            await self._starts.start(run, seconds=_START_SECONDS)
        except ResourceExhausted as error:
            self._full_until = asyncio.get_running_loop().time() + (error.retry_after or 1.0)
            raise
        except TaskforgeError as error:
            if error.code != TaskforgeError.code:
                raise
            raise _Surprised(
                "SCHEDULER_UNAVAILABLE", f"the scheduler failed; the run may exist: {error.message}", retry_after=1
            ) from error
        self._started.append(delivery_id)
        self._on_started()


def start_message(run_id: UUID, delivery_id: UUID, revision_id: UUID, trigger: str, accepted: Accepted) -> pb.StartRun:
    """What the scheduler is asked for."""
    return pb.StartRun(
        run_id=run_id.bytes,
        revision_id=revision_id.bytes,
        inputs_json=accepted.inputs,
        trigger_json=accepted.trigger,
        cause_kind="webhook",
        cause_trigger=trigger,
        cause_id=str(delivery_id),
    )
