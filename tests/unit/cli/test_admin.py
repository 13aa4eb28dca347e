"""`taskforge admin check`: what it prints, where, and how it ends, for answers of a server of the test's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from taskforge.v1.system_service_pb2 import CheckInvariantsRequest, CheckInvariantsResponse, InvariantViolation
from taskforge.v1.system_service_pb2_grpc import SystemServiceServicer, add_SystemServiceServicer_to_server
from taskforge_cli.commands.admin import Checked, Progress
from taskforge_cli.main import run

RUN = "0199a3c2-7d1e-7a4b-9c3d-5e6f7a8b9c0d"
CLEAN = [
    CheckInvariantsResponse(runs=12_000, steps=81_004, next_page_token="more"),
    CheckInvariantsResponse(runs=345, next_page_token="ticks"),
    CheckInvariantsResponse(schedules=1, ticks=9),
]
BROKEN = [
    CheckInvariantsResponse(
        runs=1,
        steps=2,
        violations=[
            InvariantViolation(invariant="I7", run=f"runs/{RUN}", step="notify", message="won twice"),
            InvariantViolation(invariant="I19", message="demo/tick: 1 missing tick at noon"),
        ],
    )
]


class Server(SystemServiceServicer):
    """Answers with pages that were thought up, and remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: list[CheckInvariantsResponse] = []
        self.requests: list[CheckInvariantsRequest] = []

    def CheckInvariants(self, request: CheckInvariantsRequest, context: Any) -> CheckInvariantsResponse:  # noqa: N802
        """The next page."""
        self.requests.append(request)
        return self.pages[len(self.requests) - 1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the command line is told of."""
    server = Server()
    grpc_server = grpc.server(ThreadPoolExecutor(max_workers=1))
    add_SystemServiceServicer_to_server(server, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    monkeypatch.setenv("TASKFORGE_SERVER", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("TASKFORGE_TOKEN", "token")
    yield server
    grpc_server.stop(None).wait()


def test_a_clean_check_says_how_much_it_looked_at(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.pages = CLEAN
    assert run(["admin", "check"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "12,345 runs, 81,004 steps, 1 schedule checked: no violation\n"
    assert [request.page_token for request in server.requests] == ["", "more", "ticks"]
    assert {request.page_size for request in server.requests} == {500}


def test_violations_are_a_table_and_an_exit_code(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.pages = BROKEN
    assert run(["admin", "check", "-o", "table"]) == 1
    shown = capsys.readouterr()
    assert [line.split() for line in shown.out.splitlines()] == [
        ["INVARIANT", "RUN", "STEP", "MESSAGE"],
        ["I7", "0199a3c2-7d1e", "notify", "won", "twice"],
        ["I19", "-", "-", "demo/tick:", "1", "missing", "tick", "at", "noon"],
    ]
    assert shown.err == "1 run, 2 steps, 0 schedules checked: 2 violations\n"


def test_programs_get_counts_and_violations(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.pages = BROKEN
    assert run(["admin", "check", "-o", "json"]) == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert {name: found[name] for name in ("runs", "steps", "schedules", "ticks")} == {
        "runs": 1, "steps": 2, "schedules": 0, "ticks": 0,
    }  # fmt: skip
    assert found["violations"][0] == {
        "invariant": "I7", "run": f"runs/{RUN}", "step": "notify", "message": "won twice",
    }  # fmt: skip


def test_the_filters_are_sent(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.pages = CLEAN[2:]
    assert run(["admin", "check", "--workflow", "demo", "--since", "2026-01-01T00:00:00Z"]) == 0
    [request] = server.requests
    assert (request.workflow, request.since.ToJsonString()) == ("workflows/demo", "2026-01-01T00:00:00Z")


def test_progress_is_one_line_that_disappears() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(stream)
    progress.show(Checked(runs=1, steps=2))
    progress.clear()
    assert stream.getvalue() == "\r\x1b[K1 run, 2 steps, 0 schedules checked …\r\x1b[K"


def test_progress_is_not_written_to_a_file() -> None:
    stream = io.StringIO()
    Progress(stream).show(Checked())
    assert stream.getvalue() == ""
