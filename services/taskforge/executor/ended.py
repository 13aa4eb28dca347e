"""Leases that work under has ended here. An answer that comes late must not start it a second time.

Nobody orders answers: one lease may arrive by a claim, as a continuation, and by either of them asked again, when its
step is long done. So what has ended is remembered for as long as an answer may be on its way. A lease that was given up
without a word from the scheduler may even be alive there: it is remembered until it has surely run out, and claims name
it, so that it is neither granted again nor kept alive.
"""

from __future__ import annotations

from time import monotonic

from taskforge.executor.scheduler_client import ANSWER_SECONDS
from taskforge.internal.v1.scheduler_service_pb2 import Lease

_Step = tuple[bytes, int]


class EndedLeases:
    """Remembers what has ended, and forgets it when it no longer matters."""

    def __init__(self) -> None:
        self._settled = _Memory()
        self._given_up = _Memory()

    def settle(self, lease: Lease) -> None:
        """The scheduler has taken its end, or has said that it is gone."""
        self._settled.add(lease, ANSWER_SECONDS)

    def give_up(self, lease: Lease, lease_seconds: float) -> None:
        """Work under it has ended, and the scheduler may not know."""
        # A renewal may be under way, and its effect may last a whole lease; then comes the answer to a claim.
        self._given_up.add(lease, lease_seconds + 2 * ANSWER_SECONDS)

    def has(self, lease: Lease) -> bool:
        """Whether work under this lease, or under a later one of its step, has ended here."""
        step = (lease.run_id, lease.step)
        return max(self._settled.token(step), self._given_up.token(step)) >= lease.token

    @property
    def given_up(self) -> list[Lease]:
        """Leases that may be alive although nobody here works under them."""
        return self._given_up.leases()


class _Memory:
    """The latest token of each step, in the order in which they came.

    No message is kept: even a small one holds on to the whole answer that brought it.
    """

    def __init__(self) -> None:
        self._all: dict[_Step, tuple[int, float]] = {}

    def add(self, lease: Lease, seconds: float) -> None:
        now = monotonic()
        self._forget(now)
        step, token = (lease.run_id, lease.step), lease.token
        if self.token(step) <= token:
            self._all.pop(step, None)  # the oldest stay in front
            self._all[step] = (token, now + seconds)

    def token(self, step: _Step) -> int:
        """The token of a step's latest lease; lower than any if none is remembered."""
        found = self._all.get(step)
        return found[0] if found is not None and found[1] > monotonic() else -1

    def leases(self) -> list[Lease]:
        self._forget(monotonic())
        return [Lease(run_id=run_id, step=step, token=token) for (run_id, step), (token, _) in self._all.items()]

    def _forget(self, now: float) -> None:
        while self._all:
            key, (_, until) = next(iter(self._all.items()))
            if until > now:
                return
            del self._all[key]
