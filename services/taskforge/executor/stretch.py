"""What was done since a lease was granted, until it is reported."""

from __future__ import annotations

import time
from collections.abc import Iterable

from taskforge.domain.outcome import Outcome
from taskforge.executor.messages import Ended, tell
from taskforge.internal.v1 import scheduler_service_pb2 as pb

# What is not reported yet is lost with its executor, and nobody sees it: long stretches are cut.
_MAX_SECONDS = 2.0
_MAX_STEPS = 256
_MAX_BYTES = 8 * 1024 * 1024


class Stretch:
    """The leased step's end and those of the steps that were evaluated ahead after it."""

    def __init__(self, lease: pb.Lease, first: Ended) -> None:
        self.first = first
        self.lines = list(first.lines)  #: the log lines of all its steps
        self._lease = lease
        self._carried: list[Ended] = []
        self._bytes = len(first.output)
        self._full_at = time.monotonic() + _MAX_SECONDS

    @property
    def has_carried(self) -> bool:
        """Whether anything was evaluated ahead."""
        return bool(self._carried)

    @property
    def is_full(self) -> bool:
        """Whether it should be reported before it grows."""
        return len(self._carried) >= _MAX_STEPS or self._bytes > _MAX_BYTES or time.monotonic() > self._full_at

    def add(self, ended: Ended) -> None:
        """Add a step that was evaluated ahead."""
        self._carried.append(ended)
        self.lines += ended.lines
        self._bytes += len(ended.output)

    def to_message(self, *, accept_next: bool, known: Iterable[int]) -> pb.Stretch:
        """The whole report."""
        message = pb.Stretch(lease=self._lease, accept_next=accept_next, known=known if accept_next else ())
        tell(message.outcome, self.first)
        for ended in self._carried:
            tell(message.carried.add(), ended)
        return message

    def first_alone(self) -> pb.Stretch:
        """The report without what was evaluated ahead."""
        return self._alone(self.first)

    def instead(self, outcome: Outcome) -> pb.Stretch:
        """The report of another end of the leased step."""
        return self._alone(Ended(self._lease.step, outcome))

    def _alone(self, ended: Ended) -> pb.Stretch:
        message = pb.Stretch(lease=self._lease)
        tell(message.outcome, ended)
        return message
