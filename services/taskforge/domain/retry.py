"""Whether and when a failed attempt is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from taskforge.domain.outcome import StepError
from taskforge.domain.workflow import Backoff, Jitter, RetryPolicy

LONGEST_RETRY_AFTER = 86400.0  #: seconds that a server may ask for where the policy has no `max_elapsed`


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryIn:
    """Try again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Do not try again; `reason` completes the sentence "gave up: …"."""

    reason: str


def decide(policy: RetryPolicy, error: StepError, *, attempt: int, elapsed: float, jitter: float) -> RetryIn | GiveUp:
    """Decide what follows a failed attempt.

    Args:
        policy: the step's retry policy.
        error: why the attempt failed.
        attempt: the number of the failed attempt, from 1.
        elapsed: seconds since the first attempt started.
        jitter: a random number in [0, 1).

    `Retry-After` is a floor: jitter only moves a delay upwards from it, and a wait that does not fit
    into `max_elapsed`, or into a day where there is none, gives up at once.
    """
    if not error.matches(policy.on):
        return GiveUp(reason=f"{describe(error)} is not retried")
    if attempt >= policy.max_attempts:
        return GiveUp(reason=f"{attempt} of {policy.max_attempts} attempts used")
    delay = backoff_delay(policy, attempt)
    if policy.jitter is Jitter.FULL:
        delay *= jitter
    if error.retry_after is not None:
        if policy.max_elapsed is None and error.retry_after > LONGEST_RETRY_AFTER:
            asked = f"the server asks to wait for {error.retry_after:.0f}s"
            return GiveUp(reason=f"{asked}; without max_elapsed nobody waits for more than a day")
        delay = max(delay, error.retry_after)
    if policy.max_elapsed is not None and elapsed + delay > policy.max_elapsed:
        return GiveUp(reason=f"the next attempt would start after max_elapsed ({policy.max_elapsed:g}s)")
    return RetryIn(delay=delay)


def backoff_delay(policy: RetryPolicy, attempt: int) -> float:
    """Seconds before the attempt after `attempt`, without jitter, capped by the policy's maximum."""
    match policy.backoff:
        case Backoff.CONSTANT:
            delay = policy.initial
        case Backoff.LINEAR:
            delay = policy.initial * attempt
        case Backoff.EXPONENTIAL:
            # The exponent is bounded so that a huge attempt number cannot overflow a float.
            delay = policy.initial * policy.factor ** min(attempt - 1, 64)
    return min(delay, policy.max_delay)


def describe(error: StepError) -> str:
    """A short name of an error's class, as written in `retry.on`."""
    return f"status {error.status}" if error.status is not None else error.kind.value
