"""Wrong tokens are counted by address, within bounds."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from taskforge.gateway.guesses import PER_MINUTE, WrongTokens, client_address

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_of_a_minute_are_told_that_they_are_wrong_and_the_others_to_wait(clock: Clock) -> None:
    wrong = WrongTokens(clock=clock)
    assert [wrong.seconds_to_wait(HERE) for _ in range(PER_MINUTE)] == [0.0] * PER_MINUTE
    clock.now += 45
    assert [wrong.seconds_to_wait(HERE) for _ in range(1000)] == [15.0] * 1000
    clock.now += 15
    assert wrong.seconds_to_wait(HERE) == 0.0


def test_addresses_do_not_share_their_allowance(clock: Clock) -> None:
    wrong = WrongTokens(clock=clock)
    for _ in range(PER_MINUTE + 1):
        wrong.seconds_to_wait(HERE)
    assert wrong.seconds_to_wait(THERE) == 0.0
    assert wrong.seconds_to_wait(HERE) > 0


def test_the_log_says_it_once_a_minute_and_address(clock: Clock) -> None:
    wrong = WrongTokens(clock=clock)
    with capture_logs() as logs:
        for _ in range(PER_MINUTE * 3):
            wrong.seconds_to_wait(HERE)
        clock.now += 60
        for _ in range(PER_MINUTE * 3):
            wrong.seconds_to_wait(HERE)
    assert [(entry["event"], entry["client"]) for entry in logs] == [("authentication_throttled", HERE)] * 2


def test_the_addresses_that_were_quiet_longest_are_forgotten(clock: Clock) -> None:
    wrong = WrongTokens(addresses=2, clock=clock)
    for _ in range(PER_MINUTE):
        wrong.seconds_to_wait(HERE)
        wrong.seconds_to_wait(THERE)
    wrong.seconds_to_wait(HERE)
    wrong.seconds_to_wait("192.0.2.3")
    assert wrong.seconds_to_wait(HERE) > 0
    assert wrong.seconds_to_wait(THERE) == 0.0


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("not an address", "inside"),
        ("", "inside"),
    ],
)
def test_an_address_is_what_the_edge_saw(header: str, address: str) -> None:
    assert client_address((("user-agent", "x"), ("x-envoy-external-address", header))) == address


def test_what_the_caller_says_about_itself_is_not_believed() -> None:
    assert client_address((("x-forwarded-for", "192.0.2.7"), ("x-real-ip", "192.0.2.8"))) == "inside"
