"""`Retry-After` in all its spellings; what cannot be read is as good as absent."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from taskforge.executor.web.retry_after import LONGEST_SECONDS, read_retry_after


def test_seconds() -> None:
    assert read_retry_after(429, {"retry-after": " 120 "}) == 120.0


def test_a_date_is_read_against_the_answers_own_clock() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert read_retry_after(503, headers) == 30.0


def test_a_date_without_a_date_header_is_read_against_ours() -> None:
    found = read_retry_after(503, {"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert found is not None
    assert 55 < found <= 60


def test_a_past_date_is_now() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:29:00 GMT"}
    assert read_retry_after(429, headers) == 0.0


@pytest.mark.parametrize("value", ["", "-5", "1_000", "١٢", "1.5", "soon", "Wed, 99 Oct 2015", "9" * 13, "1e3"])
def test_what_cannot_be_read_is_absent(value: str) -> None:
    assert read_retry_after(429, {"retry-after": value}) is None


def test_absurd_waits_are_bounded() -> None:
    assert read_retry_after(429, {"retry-after": "999999999999"}) == LONGEST_SECONDS
    headers = {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert read_retry_after(429, headers) == LONGEST_SECONDS


@pytest.mark.parametrize(
    ("status", "known"), [(413, True), (429, True), (503, True), (301, True), (500, False), (404, False)]
)
def test_it_means_something_for_some_statuses_only(status: int, known: bool) -> None:
    assert (read_retry_after(status, {"retry-after": "1"}) == 1.0) is known
