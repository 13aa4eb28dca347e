"""Finds work: hints when Redis brings them, polls when it does not, and now and then in any case.

A hint that is lost, a group that is gone, a connection that is dead without saying so: none of them can leave an
executor alive but deaf, because the scheduler itself is asked every few seconds whatever Redis says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

import structlog

from taskforge.bus.consumer import MAX_BLOCK_MS, Consumer
from taskforge.bus.streams import StepKey
from taskforge.domain.errors import TaskforgeError
from taskforge.executor.carrier import Carrier
from taskforge.executor.holdings import Holdings
from taskforge.executor.metrics import CLAIM_FAILURES, CLAIMED
from taskforge.executor.patience import pause_seconds
from taskforge.executor.scheduler_client import SchedulerClient
from taskforge.failpoints import Point, reach
from taskforge.internal.v1.scheduler_service_pb2 import Grant
from taskforge.runtime.randomness import fraction

SAFETY_SECONDS = 5.0  #: between polls while hints arrive
POLL_SECONDS = 1.0  #: between polls while they do not; jittered down to half of it
DEAF_SECONDS = 3 * SAFETY_SECONDS

_MAX_READ = 200

log = structlog.get_logger()


class Worker:
    """Keeps as many steps under way as there are slots."""

    def __init__(
        self,
        *,
        slots: int,
        consumer: Consumer,
        scheduler: SchedulerClient,
        holdings: Holdings,
        carrier: Carrier,
        on_hearing: Callable[[bool], None],
    ) -> None:
        self._slots = slots
        self._consumer = consumer
        self._scheduler = scheduler
        self._holdings = holdings
        self._carrier = carrier
        self._on_hearing = on_hearing
        self._pending: dict[StepKey, None] = {}  # hints in the order in which they came
        self._claiming = 0  # hints of the claim that is under way
        self._failures = 0
        self._heard_at = self._polled_at = float("-inf")
        self._jitter = 1.0
        self._poll_at_once = False  # the last poll was cut off by its limit, and nobody gives hints
        self._work = asyncio.Event()  # there may be something to claim
        self._room = asyncio.Event()  # there may be room for hints
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        holdings.when_free(self._wake)

    def start(self) -> None:
        """Begin to look for work; the first poll comes at once."""
        self._tasks = [
            asyncio.create_task(self._read_hints(), name="read-hints"),
            asyncio.create_task(self._claim_steps(), name="claim-steps"),
        ]

    async def stop(self) -> None:
        """Take no more work. A claim that is under way is waited for: what it grants is ours."""
        self._stopping.set()
        self._wake()
        if self._tasks:
            reading, claiming = self._tasks
            reading.cancel()
            await asyncio.gather(reading, claiming, return_exceptions=True)

    @property
    def is_hearing(self) -> bool:
        """Whether the scheduler has answered lately, or there is no room to ask for more."""
        heard = monotonic() - self._heard_at < DEAF_SECONDS
        return not self._failures and (heard or self._free <= 0)

    async def tick(self) -> None:
        """Claim once: what was hinted at, and whatever else there is if a poll is due."""
        limit = self._free
        hints = self._take_hints(limit)
        poll = self._seconds_to_poll <= 0
        self._claiming = len(hints)
        asked_at = monotonic()
        try:
            held = self._holdings.known if poll else self._holdings.given_up
            grants = await self._scheduler.claim(hints, poll=poll, limit=limit, held=held)
            if grants:
                await reach(Point.CLAIM_COMMITTED)
        except TaskforgeError as error:
            self._not_answered(hints, error)
            return
        finally:
            self._claiming = 0
            self._room.set()  # for more hints than now, if these led to nothing
        self._hold(grants, asked_at)
        if poll:
            self._polled(cut_off=len(grants) >= limit, hinted=bool(hints))
        self._answered(len(grants))

    @property
    def _free(self) -> int:
        return self._slots - len(self._holdings)

    @property
    def _seconds_to_poll(self) -> float:
        interval = SAFETY_SECONDS if self._consumer.healthy else POLL_SECONDS * self._jitter
        due = self._polled_at if self._poll_at_once else self._polled_at + interval
        return due - monotonic()

    def _wake(self) -> None:
        self._work.set()
        self._room.set()

    def _take_hints(self, limit: int) -> list[StepKey]:
        taken = list(self._pending)[:limit]
        for hint in taken:
            del self._pending[hint]
        self._room.set()
        # Somebody here may have got hold of the step since the hint was read.
        return [(run_id, step) for run_id, step in taken if not self._holdings.holds(run_id.bytes, step)]

    def _hold(self, grants: Sequence[Grant], asked_at: float) -> None:
        for grant in grants:
            holding = self._holdings.add(grant, asked_at=asked_at)
            if holding is not None:
                holding.task = asyncio.create_task(self._carrier.carry(grant, holding), name="carry")

    def _polled(self, *, cut_off: bool, hinted: bool) -> None:
        """While hints come, what a poll leaves over has its own. To poll on would take it before they are read, and
        each of them would then lead a claim to nothing."""
        self._polled_at = monotonic()
        self._poll_at_once = cut_off and not hinted
        self._jitter = 0.5 + fraction() / 2

    def _answered(self, granted: int) -> None:
        CLAIMED.observe(granted)
        self._heard_at = monotonic()
        self._failures = 0
        self._on_hearing(True)

    def _not_answered(self, hints: Sequence[StepKey], error: TaskforgeError) -> None:
        """Ask for the same steps again: if they were granted and only the answer was lost, they are granted again."""
        if not self._failures:
            log.warning("claim_not_answered", reason=error.reason, message=error.message)
        CLAIM_FAILURES.inc()
        self._failures += 1
        self._pending = dict.fromkeys(hints) | self._pending
        self._on_hearing(False)

    async def _claim_steps(self) -> None:
        while not self._stopping.is_set():
            await self._until_due()
            if self._stopping.is_set():
                return
            try:
                await self.tick()
            except Exception:
                # An executor that stops to look for work is worse than one that is loud about a fault.
                log.exception("claim_failed")
                self._failures += 1
            if self._failures:
                await self._rest(pause_seconds(self._failures))

    async def _until_due(self) -> None:
        """Wait for a free slot and a reason to claim: a hint, or a poll that is due."""
        while not self._stopping.is_set():
            self._work.clear()
            seconds = None
            if self._free > 0:
                seconds = self._seconds_to_poll
                if self._pending or seconds <= 0:
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._work.wait()

    async def _read_hints(self) -> None:
        while True:
            self._room.clear()
            room = self._free - len(self._pending) - self._claiming
            if room <= 0:
                await self._room.wait()
                continue
            try:
                await self._read_some(min(room, _MAX_READ))
            except Exception:
                # Polls go on without hints, but nobody would notice why everything had become slower.
                log.exception("hints_not_read")
                await self._rest(pause_seconds(1))

    async def _read_some(self, count: int) -> None:
        hints = await self._consumer.read(count, MAX_BLOCK_MS)
        if hints:
            await reach(Point.HINT_READ)
        for run_id, step in hints:
            if not self._holdings.holds(run_id.bytes, step):
                self._pending[run_id, step] = None
        if self._pending or not self._consumer.healthy:
            self._work.set()  # an unhealthy stream changes when the next poll is due

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
