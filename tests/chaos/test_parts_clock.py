"""A server can be started with a clock that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.chaos.parts.clock import why_no_clock, wrong_clock
from tests.chaos.parts.postgres_node import running_node


@pytest.mark.skipif(bool(why_no_clock()), reason=why_no_clock())
@pytest.mark.parametrize("hours", [24, -1])
def test_a_server_whose_clock_jumps_across_a_restart(folder: Path, hours: int) -> None:
    with running_node(folder) as node:
        node.stop()
        node.environment.update(wrong_clock(hours * 3600))
        node.start()
        [now] = node.sql("SELECT extract(epoch FROM clock_timestamp())")
        assert node.sql("SELECT 1 FROM pg_sleep(0.2)") == ["1"]
    ahead = datetime.fromtimestamp(float(now), UTC) - datetime.now(UTC)
    assert abs(ahead - timedelta(hours=hours)) < timedelta(seconds=30)
