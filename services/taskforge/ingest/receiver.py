"""The way of one request: find the webhook, verify, judge, store, start. Nothing is answered before it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter

from taskforge.domain.errors import InvalidArgument, NotFound, ResourceExhausted, Unauthenticated, Unavailable
from taskforge.ingest.judge import Accepted, Filtered, Judgement, Unprocessable, bounded_key, judge
from taskforge.ingest.rejections import RejectionQuota
from taskforge.ingest.requests import HookRequest, without_header
from taskforge.ingest.starts import DeliveryStarts, start_message
from taskforge.ingest.webhooks import Endpoint, Webhooks
from taskforge.internal.v1.scheduler_service_pb2 import StartRun
from taskforge.runtime.batcher import Batcher
from taskforge.runtime.ids import new_id
from taskforge.security import signatures
from taskforge.security.webhook_schemes import TokenScheme
from taskforge.store.deliveries import Deliveries, First, NewDelivery, Verdict

MAX_BODY_BYTES = 1024 * 1024
_MAX_HELD_BYTES = 128 * 1024 * 1024
_KEPT_REJECTED_BYTES = 16 * 1024
#: Deliveries that are stored together are also started together, if the scheduler answers within so many seconds. So
#: both batches are as large as can be; and a scheduler that does not answer keeps nobody from being stored.
_TOGETHER_SECONDS = 0.05

_VERDICTS = Counter("taskforge_webhook_deliveries", "Webhook deliveries by what was decided.", ["verdict"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookUrl:
    """The variable parts of a webhook's path."""

    workflow: str
    trigger: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the sender is told."""

    verdict: Verdict
    delivery_id: UUID
    run_id: UUID | None


class _Taken(NamedTuple):
    """A delivery on its way into the database, and what is to be started once it is there."""

    delivery: NewDelivery
    run: StartRun | None = None


class Receiver:
    """Takes requests. What it stores, it starts, also when the caller goes away."""

    def __init__(
        self, deliveries: Deliveries, webhooks: Webhooks, starts: DeliveryStarts, *, quota: RejectionQuota
    ) -> None:
        self._deliveries = deliveries
        self._webhooks = webhooks
        self._starts = starts
        self._quota = quota
        self._held_bytes = 0
        self._starting: set[asyncio.Task[None]] = set()
        self._batches: Batcher[_Taken, First | asyncio.Task[None] | None] = Batcher("store_deliveries", self._write)

    async def receive(self, url: HookUrl, request: HookRequest) -> Receipt:
        """Take one delivery.

        Raises:
            NotFound: WEBHOOK_NOT_FOUND.
            Unauthenticated: SIGNATURE_MISMATCH.
            InvalidArgument: BODY_TOO_LARGE, DELIVERY_UNPROCESSABLE.
            ResourceExhausted: QUEUE_FULL.
            Unavailable: it may have been taken; it is safe to send it again.
        """
        if len(request.content.body) > MAX_BODY_BYTES:
            raise InvalidArgument(
                "BODY_TOO_LARGE",
                f"the body has more than {MAX_BODY_BYTES} bytes",
                metadata={"maximum": str(MAX_BODY_BYTES)},
            )
        with self._holding(len(request.content.body)):
            return await self._take(url, request)

    async def drain(self) -> None:
        """Wait for what was begun."""
        await self._batches.drain()
        while self._starting:
            await asyncio.gather(*self._starting, return_exceptions=True)

    @contextmanager
    def _holding(self, size: int) -> Iterator[None]:
        """Refuse more than this process can hold in memory."""
        if self._held_bytes + size > _MAX_HELD_BYTES:
            raise ResourceExhausted("QUEUE_FULL", "too many deliveries wait to be stored", retry_after=1)
        self._held_bytes += size
        try:
            yield
        finally:
            self._held_bytes -= size

    async def _take(self, url: HookUrl, request: HookRequest) -> Receipt:
        endpoint = await self._webhooks.at((url.workflow, url.trigger), url.key)
        if endpoint is None:
            raise NotFound("WEBHOOK_NOT_FOUND", "there is no such webhook")
        now = datetime.now(UTC)
        hook = endpoint.hook
        verified = signatures.verify(
            hook.scheme, request.raw_headers, request.content.body, endpoint.secrets, now.timestamp()
        )
        if isinstance(hook.scheme, TokenScheme):
            request = replace(request, content=without_header(request.content, hook.scheme.header))
        delivery = NewDelivery(
            delivery_id=new_id(),
            trigger_id=endpoint.trigger_id,
            revision_id=hook.revision_id,
            verdict=Verdict.BAD_SIGNATURE,
            content=request.content,
        )
        if isinstance(verified, signatures.Rejected):
            await self._keep_rejected(delivery, verified)
            # One answer for every reason: a sender who is wrong learns nothing from it.
            raise Unauthenticated("SIGNATURE_MISMATCH", "the delivery's signature is missing or wrong")
        return await self._decide(endpoint, request, delivery, judge(hook, request.content, now))

    async def _decide(
        self, endpoint: Endpoint, request: HookRequest, delivery: NewDelivery, judgement: Judgement
    ) -> Receipt:
        match judgement:
            case Accepted():
                return await self._accept(endpoint, request, delivery, judgement)
            case Filtered():
                await self._store(_Taken(replace(delivery, verdict=Verdict.FILTERED)))
                return Receipt(verdict=Verdict.FILTERED, delivery_id=delivery.delivery_id, run_id=None)
            case Unprocessable(message=message):
                await self._store(_Taken(replace(delivery, verdict=Verdict.UNPROCESSABLE, message=message)))
                raise InvalidArgument(
                    "DELIVERY_UNPROCESSABLE", message, metadata={"delivery": str(delivery.delivery_id)}
                )

    async def _accept(
        self, endpoint: Endpoint, request: HookRequest, delivery: NewDelivery, accepted: Accepted
    ) -> Receipt:
        self._starts.refuse_if_full()
        hook, run_id = endpoint.hook, new_id()
        received = replace(
            delivery,
            verdict=Verdict.RECEIVED,
            run_id=run_id,
            dedupe_key=accepted.key or _sender_key(endpoint, request),
            ttl=hook.ttl,
        )
        run = start_message(run_id, delivery.delivery_id, hook.revision_id, hook.plan.trigger.id, accepted)
        outcome = await self._store(_Taken(received, run))
        if isinstance(outcome, First):
            return await self._repeat(delivery.delivery_id, outcome)
        if outcome is not None:
            await asyncio.shield(outcome)  # whatever becomes of this caller
        return Receipt(verdict=Verdict.ACCEPTED, delivery_id=delivery.delivery_id, run_id=run_id)

    async def _repeat(self, delivery_id: UUID, first: First) -> Receipt:
        if first.verdict is Verdict.RECEIVED:
            # The first one's run may not exist yet, and the answer says that it does.
            await self._starts.finish(first.delivery_id)
        return Receipt(verdict=Verdict.DUPLICATE, delivery_id=delivery_id, run_id=first.run_id)

    async def _store(self, taken: _Taken) -> First | asyncio.Task[None] | None:
        outcome = await self._batches.submit(taken)
        _VERDICTS.labels((Verdict.DUPLICATE if isinstance(outcome, First) else taken.delivery.verdict).value).inc()
        return outcome

    async def _write(self, batch: Sequence[_Taken]) -> list[First | asyncio.Task[None] | None]:
        """Store deliveries and begin their runs: of a duplicate, what came first, of the others the start if any."""
        firsts = await self._deliveries.store([taken.delivery for taken in batch])
        outcomes = [first or self._begin(taken) for taken, first in zip(batch, firsts, strict=True)]
        starts = [outcome for outcome in outcomes if isinstance(outcome, asyncio.Task)]
        if starts:
            await asyncio.wait(starts, timeout=_TOGETHER_SECONDS)
        return outcomes

    def _begin(self, taken: _Taken) -> asyncio.Task[None] | None:
        if taken.run is None:
            return None
        task = asyncio.create_task(self._starts.start(taken.delivery.delivery_id, taken.run))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        task.add_done_callback(_retrieve)
        return task

    async def _keep_rejected(self, delivery: NewDelivery, rejected: signatures.Rejected) -> None:
        """Keep some of them for whoever has to find out why; never so many that they fill the disk."""
        _VERDICTS.labels(Verdict.BAD_SIGNATURE.value).inc()
        if not self._quota.take(delivery.trigger_id):
            return
        body = delivery.content.body
        message = f"{rejected.reason.value} ({rejected.header})" if rejected.header else rejected.reason.value
        if len(body) > _KEPT_REJECTED_BYTES:
            message += f"; the first {_KEPT_REJECTED_BYTES} of {len(body)} bytes are kept"
        content = replace(delivery.content, body=body[:_KEPT_REJECTED_BYTES])
        try:
            await self._batches.submit(_Taken(replace(delivery, content=content, message=message)))
        except Unavailable as error:
            log.warning("rejected_delivery_not_kept", delivery=str(delivery.delivery_id), message=error.message)


def _sender_key(endpoint: Endpoint, request: HookRequest) -> str | None:
    """The sender's own id of the delivery, for triggers that say nothing about duplicates."""
    if endpoint.hook.plan.dedupe_key is not None:
        return None
    key = signatures.dedupe_key(endpoint.hook.scheme, request.raw_headers)
    return bounded_key(key) if key else None


def _retrieve(task: asyncio.Task[None]) -> None:
    """Nobody may be waiting any more; its error is not news then."""
    if not task.cancelled():
        task.exception()
