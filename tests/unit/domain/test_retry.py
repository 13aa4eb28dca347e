"""Retries: only what `on` names, within the budget, no earlier than the other side asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.domain.outcome import ErrorKind, StepError
from taskforge.domain.retry import GiveUp, RetryIn, backoff_delay, decide
from taskforge.domain.workflow import NO_RETRY, Backoff, Jitter, RetryPolicy

CONNECT = StepError(kind=ErrorKind.CONNECT, message="refused")


def policy(**changes: Any) -> RetryPolicy:
    return RetryPolicy(**{"max_attempts": 5, "on": frozenset({"connect"}), "jitter": Jitter.NONE, **changes})


def status(code: int, retry_after: float | None = None) -> StepError:
    return StepError(kind=ErrorKind.STATUS, message="unexpected", status=code, retry_after=retry_after)


def delay_of(policy: RetryPolicy, error: StepError = CONNECT, **changes: Any) -> float:
    verdict = decide(policy, error, **{"attempt": 1, "elapsed": 0.0, "jitter": 0.0, **changes})
    assert isinstance(verdict, RetryIn)
    return verdict.delay


def reason_of(policy: RetryPolicy, error: StepError = CONNECT, **changes: Any) -> str:
    verdict = decide(policy, error, **{"attempt": 1, "elapsed": 0.0, "jitter": 0.0, **changes})
    assert isinstance(verdict, GiveUp)
    return verdict.reason


@pytest.mark.parametrize(
    ("on", "code", "retried"),
    [
        ("5xx", 503, True),
        ("5xx", 500, True),
        ("5xx", 499, False),
        ("503", 503, True),
        ("503", 500, False),
        ("4xx", 429, True),
        ("connect", 503, False),
    ],
)
def test_a_status_is_retried_by_its_class_or_by_itself(on: str, code: int, retried: bool) -> None:
    verdict = decide(policy(on=frozenset({on})), status(code), attempt=1, elapsed=0.0, jitter=0.0)
    assert isinstance(verdict, RetryIn) is retried


def test_what_is_not_named_is_not_retried() -> None:
    assert reason_of(policy(), status(503)) == "status 503 is not retried"
    assert reason_of(NO_RETRY) == "connect is not retried"


def test_the_last_attempt_gives_up() -> None:
    assert reason_of(policy(), attempt=5) == "5 of 5 attempts used"


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff.CONSTANT, [2, 2, 2, 2]),
        (Backoff.LINEAR, [2, 4, 6, 8]),
        (Backoff.EXPONENTIAL, [2, 6, 18, 54]),
    ],
)
def test_delays_grow_as_the_backoff_says(backoff: Backoff, delays: list[float]) -> None:
    growing = policy(backoff=backoff, initial=2.0, factor=3.0)
    assert [backoff_delay(growing, attempt) for attempt in (1, 2, 3, 4)] == delays


def test_a_delay_never_exceeds_the_maximum_however_many_attempts_there_were() -> None:
    assert backoff_delay(policy(max_delay=30.0), 10_000) == 30.0


def test_retry_after_is_a_floor_and_not_a_ceiling() -> None:
    throttled = policy(on=frozenset({"429"}), initial=5.0)
    assert delay_of(throttled, status(429, retry_after=20.0)) == 20.0
    assert delay_of(throttled, status(429, retry_after=1.0)) == 5.0


def test_full_jitter_spreads_the_delay_below_the_backoff_but_not_below_retry_after() -> None:
    jittered = policy(on=frozenset({"429", "connect"}), initial=8.0, jitter=Jitter.FULL)
    assert delay_of(jittered, jitter=0.25) == 2.0
    assert delay_of(jittered, status(429, retry_after=3.0), jitter=0.25) == 3.0


def test_a_wait_beyond_max_elapsed_gives_up_at_once() -> None:
    bounded = policy(initial=10.0, max_elapsed=60.0)
    assert delay_of(bounded, elapsed=50.0) == 10.0
    assert reason_of(bounded, elapsed=50.1) == "the next attempt would start after max_elapsed (60s)"


def test_nobody_waits_for_years_because_a_server_says_so() -> None:
    throttled = policy(on=frozenset({"429"}))
    assert delay_of(throttled, status(429, retry_after=86400.0)) == 86400.0
    reason = reason_of(throttled, status(429, retry_after=86401.0))
    assert reason == "the server asks to wait for 86401s; without max_elapsed nobody waits for more than a day"
    patient = policy(on=frozenset({"429"}), max_elapsed=1e6)
    assert delay_of(patient, status(429, retry_after=86401.0)) == 86401.0


@given(
    attempt=st.integers(1, 200),
    elapsed=st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e5),
    max_elapsed=st.none() | st.floats(0, 1e6),
)
def test_every_retry_is_within_the_budget(
    attempt: int, elapsed: float, jitter: float, retry_after: float | None, max_elapsed: float | None
) -> None:
    bounded = policy(max_attempts=7, jitter=Jitter.FULL, max_elapsed=max_elapsed, on=frozenset({"503"}))
    verdict = decide(bounded, status(503, retry_after), attempt=attempt, elapsed=elapsed, jitter=jitter)
    if isinstance(verdict, RetryIn):
        assert attempt < 7
        assert verdict.delay >= (retry_after or 0.0)
        assert verdict.delay <= max(bounded.max_delay, retry_after or 0.0)
        assert max_elapsed is None or elapsed + verdict.delay <= max_elapsed
