"""The model of the protocol is searched whole, and a search that finds nothing wrong would have found each mistake.

`TASKFORGE_TEST_MODEL=large` searches the large sizes, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.chaos.model.bounds import LARGE_SIZES, SIZES, Budget, Size
from tests.chaos.model.checker import Label, Move, check
from tests.chaos.model.protocol import Protocol
from tests.chaos.model.rows import Bug

_SIZES = SIZES | (LARGE_SIZES if os.environ.get("TASKFORGE_TEST_MODEL") == "large" else {})

#: Where each mistake shows, what it breaks, and a word of its trace.
_BUGS = {
    Bug.NO_FENCE_ON_COMPLETE: (Budget(pauses=1), "I9", "ends the lease"),
    Bug.COMPLETE_AFTER_EXPIRY: (Budget(pauses=1), "I9", "ends the lease"),
    Bug.TOKEN_STAYS_ON_CLAIM: (Budget(pauses=1), "I8", "a sweep changes expired"),
    Bug.TOKEN_RESTARTS_ON_REDRIVE: (Budget(pauses=1, cancels=1, redrives=1), "I8", "retries the run"),
    Bug.EXPIRE_WITHOUT_LOOKING_AGAIN: (Budget(pauses=1, slow_sweeps=1), "I8", "a slow sweep finds expired"),
    Bug.RETRY_WITHOUT_LOOKING_AGAIN: (Budget(failures=2, slow_sweeps=1, redrives=1, cancels=1), "I17", "finds due"),
    Bug.ANSWER_WITHOUT_COMMIT: (Budget(), "I1", "report of step 0"),
    Bug.RESULT_NOT_REMEMBERED: (Budget(timeouts=1), "I7", "reports again"),
    Bug.GRANT_AGAIN_TO_ANYBODY: (Budget(), "I12", "Bob polls"),
    Bug.GRANT_TAKEN_TWICE: (Budget(timeouts=1, deaf=1), "I11", "drops"),
    Bug.LEASES_FORGOTTEN: (Budget(timeouts=1, deaf=1), "I11", "drops"),
    Bug.LETTER_LOST: (Budget(failures=2, crashes=2, redrives=1), "I18", "retries the run"),
    Bug.NO_SWEEPER: (Budget(crashes=1), "Liveness", "crashes"),
}


@pytest.mark.parametrize("size", _SIZES.values(), ids=_SIZES.keys())
@pytest.mark.timeout(1800)
def test_nothing_that_the_protocol_can_do_breaks_a_property(size: Size) -> None:
    outcome = check(Protocol(size))
    print(outcome)
    assert outcome.violation is None, str(outcome)
    assert outcome.is_complete


@pytest.mark.parametrize("bug", Bug)
def test_a_mistake_is_found_with_the_way_to_it(bug: Bug) -> None:
    budget, invariant, word = _BUGS[bug]
    outcome = check(Protocol(Size(steps=1, budget=budget), frozenset({bug})))
    print(outcome)
    assert outcome.violation is not None
    assert outcome.violation.message.startswith(invariant)
    assert word in str(outcome.violation)


def test_a_continuation_that_was_not_committed_is_found() -> None:
    size = Size(steps=2, budget=Budget())
    outcome = check(Protocol(size, frozenset({Bug.ANSWER_WITHOUT_COMMIT})))
    assert outcome.violation is not None
    assert "not stored" in outcome.violation.message


def test_nothing_is_left_out_for_being_void() -> None:
    """Late messages that are known to change nothing are dropped; a search that keeps them comes to the same end."""
    size = Size(steps=1, budget=Budget(timeouts=1, crashes=1))
    outcome = check(Protocol(size, keeps_everything=True))
    assert outcome.violation is None, str(outcome)
    assert outcome.states > check(Protocol(size)).states


@dataclass(frozen=True, slots=True)
class _Clock:
    """Counts to four and begins anew; from three it may fall to a place of no return."""

    trap: bool = False
    wrong_at: int | None = None

    def start(self) -> int:
        return 0

    def moves(self, state: int) -> Iterator[Move[int]]:
        if state < 0:
            return
        wrong = "too late" if state == self.wrong_at else None
        yield Move(("the clock", "ticks"), (state + 1) % 5, True, wrong)
        if self.trap and state == 3:
            yield Move(("the clock", "falls"), -1, False)

    def canonical(self, state: int) -> int:
        return state

    def is_end(self, state: int) -> bool:
        return state == 4

    def tell(self, label: Label, before: int, after: int) -> str:
        return f"{label[1]} from {before} to {after}"


def test_the_search_counts_what_it_sees() -> None:
    outcome = check(_Clock())
    assert (outcome.states, outcome.moves, outcome.depth, outcome.violation) == (5, 5, 4, None)


def test_the_search_tells_the_shortest_way_to_a_violation() -> None:
    violation = check(_Clock(wrong_at=2)).violation
    assert violation is not None
    assert violation.trace == ("ticks from 0 to 1", "ticks from 1 to 2", "ticks from 2 to 3")


def test_the_search_finds_a_place_of_no_return() -> None:
    violation = check(_Clock(trap=True)).violation
    assert violation is not None
    assert violation.message.startswith("Liveness")
    assert violation.trace[-1] == "falls from 3 to -1"


def test_a_search_that_was_cut_off_says_so() -> None:
    outcome = check(_Clock(), limit=2)
    assert not outcome.is_complete
    assert "the first" in str(outcome)
