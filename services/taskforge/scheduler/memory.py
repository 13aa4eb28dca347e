"""Runs as this scheduler has left them, so that going on with one costs no reading.

What is remembered may be old: another scheduler, a sweep or an operator may have changed the run since. So it decides
nothing but what to write, and the write is a compare-and-set on the run's sequence number, which each change counts up.
Whatever would be answered without a write is read under the run's lock first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from taskforge.domain.states import RUN_FINAL
from taskforge.scheduler.run_turn import RunTurn

_CAPACITY = 8_000
_INPUT_CHARACTERS = 16_384  #: a run with larger inputs is read again by whoever claims it


class Memory:
    """An LRU of turns. Each is handed out to one user, who gives it back after its commit, or drops it."""

    def __init__(self) -> None:
        self._turns: OrderedDict[UUID, RunTurn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def take(self, run_ids: Iterable[UUID]) -> dict[UUID, RunTurn]:
        """What is known of these runs. It is forgotten here, so that nobody else goes on from it meanwhile."""
        found = {}
        for run_id in run_ids:
            turn = self._turns.pop(run_id, None)
            if turn is not None:
                found[run_id] = turn
        return found

    def keep(self, turns: Iterable[RunTurn], written: Mapping[UUID, datetime]) -> None:
        """Remember turns of a transaction that has committed, and when it wrote each. What it did not is left out."""
        for turn in turns:
            if turn.snapshot.state in RUN_FINAL:
                continue
            at = written.get(turn.row.run_id)
            if at is not None:
                turn.committed(at)
            if not turn.write.changed:
                self._put(turn)

    def _put(self, turn: RunTurn) -> None:
        if turn.inputs is not None and turn.inputs.characters > _INPUT_CHARACTERS:
            turn.inputs = None
        known = self._turns.get(turn.row.run_id)
        if known is None or known.row.seq < turn.row.seq:
            self._turns[turn.row.run_id] = turn
            if len(self._turns) > _CAPACITY:
                self._turns.popitem(last=False)
