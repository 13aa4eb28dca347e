"""The leases that this executor holds, and the way to reach whoever works under one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from enum import IntEnum
from time import monotonic
from types import TracebackType
from typing import Self

from taskforge.executor.ended import EndedLeases
from taskforge.executor.metrics import HELD, LEASES_LOST
from taskforge.internal.v1.scheduler_service_pb2 import Grant, Lease


class Signal(IntEnum):
    """Why work is interrupted; a higher one overrules a lower one."""

    RELEASE = 1  # this executor is stopping: hand the step back
    STOP = 2  # the run is to stop
    LOST = 3  # the lease is gone: drop everything


class Interrupted(Exception):
    """Work under a lease was interrupted."""

    def __init__(self, signal: Signal) -> None:
        super().__init__(signal.name)
        self.signal = signal


class Holding:
    """One task and the lease it works under; a continuation gives the task another lease."""

    def __init__(self, grant: Grant, *, asked_at: float) -> None:
        self.task: asyncio.Task[None] | None = None
        self.signal: Signal | None = None
        self.acting = False  #: whether an action has begun under this lease
        self.settled = False  #: whether the scheduler has said what became of this lease
        self._can_interrupt = False
        self.take(grant, asked_at=asked_at)

    def take(self, grant: Grant, *, asked_at: float) -> None:
        """Work under a fresh lease from now on. What was said about the last one is forgotten, except to release."""
        self.lease: Lease = grant.lease
        self.lease_seconds = grant.lease_milliseconds / 1000
        self.acting = self.settled = False
        if self.signal is not Signal.RELEASE:
            self.signal = None
        self.renewed(asked_at=asked_at)

    def renewed(self, *, asked_at: float) -> None:
        """The lease is good for its full length again, counted from when it was asked for, on the monotonic clock.

        The answer may have been long under way, or this process asleep since it came: the database began to count
        some time after the question.
        """
        self.good_until = asked_at + self.lease_seconds

    @property
    def has_run_out(self) -> bool:
        """Whether the lease may be gone: the database has not taken it away before."""
        return monotonic() > self.good_until

    async def about_to_act(self) -> None:
        """The last moment before an outside effect: whoever slept for longer than the lease must not have it."""
        if self.has_run_out:
            self.interrupt(Signal.LOST)
            await asyncio.sleep(0)  # where the interruption arrives
        self.acting = True

    def interrupt(self, signal: Signal) -> None:
        """Interrupt the work at once if it can be, else before its next part that can."""
        if self.signal is None or signal > self.signal:
            self.signal = signal
            if self._can_interrupt and self.task is not None:
                self._can_interrupt = False
                self.task.cancel()

    def interruptible(self) -> Self:
        """A part of the work that may be given up halfway: `with holding.interruptible(): …` may raise Interrupted."""
        return self

    def __enter__(self) -> None:
        if self.signal is not None:
            raise Interrupted(self.signal)
        self._can_interrupt = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._can_interrupt = False
        # A cancellation without a signal is somebody ending the task itself.
        if kind is asyncio.CancelledError and self.signal is not None and self.task is not None:
            self.task.uncancel()
            raise Interrupted(self.signal) from None


class Holdings:
    """All of them, by step."""

    def __init__(self) -> None:
        self._all: set[Holding] = set()
        self._by_step: dict[tuple[bytes, int], Holding] = {}
        self._ended = EndedLeases()
        self.lease_seconds: float | None = None  #: the shortest lease granted so far
        self.shortened = asyncio.Event()  #: set when leases turn out to be shorter than any before
        self._on_free: Callable[[], None] = lambda: None
        HELD.set_function(self._all.__len__)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Holding]:
        return iter(tuple(self._all))

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back whenever work under a lease has ended."""
        self._on_free = callback

    def holds(self, run_id: bytes, step: int) -> bool:
        """Whether somebody here works on the step."""
        return (run_id, step) in self._by_step

    @property
    def given_up(self) -> list[Lease]:
        """Leases that nobody works under any more, and that the scheduler may believe in."""
        return self._ended.given_up

    @property
    def known(self) -> list[Lease]:
        """Those, and all that are worked under."""
        return [*(holding.lease for holding in self._all), *self.given_up]

    def add(self, grant: Grant, *, asked_at: float) -> Holding | None:
        """Hold a new lease; None if it is held already, or was. `asked_at` is on the monotonic clock."""
        if not self._displace(grant.lease):
            return None
        holding = Holding(grant, asked_at=asked_at)
        self._all.add(holding)
        self._keep(holding)
        return holding

    def move(self, holding: Holding, grant: Grant, *, asked_at: float) -> bool:
        """Give a holding its next lease; False if somebody else here holds it, or did."""
        if not self._displace(grant.lease):
            return False
        self._forget(holding)
        holding.take(grant, asked_at=asked_at)
        self._keep(holding)
        return True

    def drop(self, holding: Holding) -> None:
        """The work is over."""
        self._forget(holding)
        self._all.discard(holding)
        self._on_free()

    def _displace(self, lease: Lease) -> bool:
        """Make room for a lease: whoever works under an older lease of the same step has lost it."""
        if self._ended.has(lease):
            return False
        held = self._by_step.get((lease.run_id, lease.step))
        if held is None:
            return True
        if held.lease.token >= lease.token:
            return False
        LEASES_LOST.inc()
        held.interrupt(Signal.LOST)
        return True

    def _keep(self, holding: Holding) -> None:
        self._by_step[holding.lease.run_id, holding.lease.step] = holding
        if self.lease_seconds is None or holding.lease_seconds < self.lease_seconds:
            self.lease_seconds = holding.lease_seconds
            self.shortened.set()

    def _forget(self, holding: Holding) -> None:
        lease = holding.lease
        if holding.settled:
            self._ended.settle(lease)
        else:
            self._ended.give_up(lease, holding.lease_seconds)
        key = (lease.run_id, lease.step)
        if self._by_step.get(key) is holding:
            del self._by_step[key]


def lease_fields(lease: Lease) -> dict[str, object]:
    """A lease as the fields of a log line."""
    return {"run": lease.run_id.hex(), "step": lease.step, "token": lease.token}
