"""What the log tells of hints that come and go."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from taskforge.bus.health import Health

LOST = ConnectionError("lost")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_an_outage_is_two_lines(clock: list[float]) -> None:
    health = Health()
    assert health.ok is None
    with capture_logs() as logs:
        for outcome in (True, False, False, False, True, True):
            clock[0] += 2
            health.good() if outcome else health.bad(LOST)
    assert [line["event"] for line in logs] == ["hints_available", "hints_unavailable", "hints_available"]
    assert logs[1]["error"] == "ConnectionError: lost"
    assert health.ok


def test_a_flutter_is_a_line_a_second_and_the_last_word_is_true(clock: list[float]) -> None:
    health = Health()
    with capture_logs() as logs:
        for _ in range(500):  # ten seconds
            clock[0] += 0.01
            health.bad(LOST)
            clock[0] += 0.01
            health.good()
        clock[0] += 1
        health.good()
    assert len(logs) <= 11
    assert logs[-1]["event"] == "hints_available"
