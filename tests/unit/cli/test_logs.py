from __future__ import annotations

from taskforge_cli.commands.logs import readable
from taskforge_cli.paint import Paint

PLAIN = Paint(enabled=False)


def test_a_json_line_is_shown_as_time_event_and_the_rest() -> None:
    line = '{"pid": 7, "event": "started", "service": "gateway", "timestamp": "2026-03-01T12:00:00.123456Z"}'
    assert readable(line, PLAIN) == "12:00:00.123 started pid=7"


def test_a_traceback_follows_its_line() -> None:
    line = '{"event": "rpc_failed", "level": "error", "exception": "Traceback\\n  x"}'
    assert readable(line, PLAIN) == " rpc_failed\nTraceback\n  x"


def test_other_lines_stay_as_they_are() -> None:
    for line in ("LOG:  database system is ready", "{not json", '{"a": 1}', ""):
        assert readable(line, PLAIN) == line
