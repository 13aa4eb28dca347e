"""What the executor counts."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

from taskforge.domain.outcome import Outcome
from taskforge.domain.workflow import ActionKind

STEPS = Counter(
    "taskforge_executor_steps", "Steps this executor ran or carried, by kind and outcome.", ["kind", "outcome"]
)
STRETCHES = Counter("taskforge_executor_stretches", "Reported stretches, by what the scheduler said.", ["result"])
LEASES_LOST = Counter("taskforge_executor_leases_lost", "Leases that were lost while their step was under way.")
HELD = Gauge("taskforge_executor_held_leases", "Leases held now.")
CLAIMED = Histogram(
    "taskforge_executor_claimed_steps", "Steps granted by one claim.", buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200)
)
CLAIM_FAILURES = Counter("taskforge_executor_claim_failures", "Claims that were not answered.")
LOG_LINES_REFUSED = Counter("taskforge_executor_log_lines_refused", "Log lines that the scheduler would not take.")


def count_step(kind: ActionKind, outcome: Outcome) -> None:
    """Count one step."""
    _steps(kind, type(outcome).__name__).inc()


def count_stretch(result: str) -> None:
    """Count one report by its result, a name of the protos' enum."""
    _stretches(result).inc()


# Looking a counter up by its labels costs more than counting.


@lru_cache(maxsize=256)
def _steps(kind: ActionKind, outcome: str) -> Counter:
    return STEPS.labels(kind.value, outcome.lower())


@lru_cache(maxsize=16)
def _stretches(result: str) -> Counter:
    return STRETCHES.labels(result.removeprefix("KIND_").lower())
