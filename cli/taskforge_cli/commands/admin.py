"""`taskforge admin`: for those who run an installation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TextIO

import typer

from taskforge.v1.system_service_pb2 import CheckInvariantsRequest, CheckInvariantsResponse, InvariantViolation
from taskforge_cli import suggestions
from taskforge_cli.client import MAX_PAGE, Client
from taskforge_cli.codes import ExitCode
from taskforge_cli.columns import text
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.errors import QuietError
from taskforge_cli.ids import shorten
from taskforge_cli.messages import last_part, to_plain
from taskforge_cli.output import Listing, Output
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column
from taskforge_cli.times import parse_moment

app = noun("Look after an installation.")


@dataclass(slots=True, kw_only=True)
class Checked:
    """How much has been looked at."""

    runs: int = 0
    steps: int = 0
    schedules: int = 0
    ticks: int = 0

    def add(self, page: CheckInvariantsResponse) -> None:
        """Count a page."""
        self.runs += page.runs
        self.steps += page.steps
        self.schedules += page.schedules
        self.ticks += page.ticks

    def __str__(self) -> str:
        return f"{_counted(self.runs, 'run')}, {_counted(self.steps, 'step')}, {_counted(self.schedules, 'schedule')}"


class Progress:
    """One line on a terminal that says how far it is; nothing elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._visible = stream.isatty()

    def show(self, checked: Checked) -> None:
        """Write the line over the one before."""
        self._write(f"\r\x1b[K{checked} checked …")

    def clear(self) -> None:
        """Leave nothing behind."""
        self._write("\r\x1b[K")

    def _write(self, written: str) -> None:
        if self._visible:
            self._stream.write(written)
            self._stream.flush()


@app.command("check", cls=Command, epilog=examples("taskforge admin check --since 7d", "taskforge admin check -o json"))
def check(
    ctx: typer.Context,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Only what was accepted or due since: 7d, or RFC 3339.")
    ] = "",
    workflow: Annotated[
        str,
        typer.Option(
            "--workflow", "-w", metavar="NAME", help="Only this workflow's.", autocompletion=suggestions.workflows
        ),
    ] = "",
) -> None:
    """Check that nothing was lost or done twice: all that the database holds about runs and schedules.

    It only reads, page by page, and may be run at any time. A violation is a fault of TaskForge or of the database.
    Exit code 0: no violation; 1: violations.
    """
    session = Session.of(ctx)
    request = CheckInvariantsRequest(page_size=MAX_PAGE)
    if workflow:
        request.workflow = f"workflows/{last_part(workflow)}"
    if since:
        request.since.FromDatetime(parse_moment(since, "--since", datetime.now(UTC)).astimezone(UTC))
    checked = Checked()
    found: list[InvariantViolation] = []
    progress = Progress(sys.stderr)
    try:
        for page in _pages(session.client(), request):
            checked.add(page)
            found += page.violations
            progress.show(checked)
    finally:
        progress.clear()
    _show(session.output, checked, found)
    if found:
        raise QuietError(ExitCode.ERROR)


def _pages(client: Client, request: CheckInvariantsRequest) -> Iterator[CheckInvariantsResponse]:
    while True:
        page = client.call("SystemService/CheckInvariants", request, CheckInvariantsResponse)
        yield page
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _show(output: Output, checked: Checked, found: list[InvariantViolation]) -> None:
    if not output.is_human:
        counts = {"runs": checked.runs, "steps": checked.steps, "schedules": checked.schedules, "ticks": checked.ticks}
        output.data({**counts, "violations": [to_plain(violation) for violation in found]})
        return
    if found:
        output.rows(found, _listing(found))
    output.note(f"{checked} checked: {_counted(len(found), 'violation') if found else 'no violation'}")


def _listing(found: list[InvariantViolation]) -> Listing:
    runs = shorten(last_part(violation.run) for violation in found if violation.run)
    columns = (
        Column("INVARIANT", lambda violation: Cell(violation.invariant, "bad")),
        Column("RUN", lambda violation: _or_dash(runs.get(last_part(violation.run), ""), last_part(violation.run))),
        Column("STEP", lambda violation: _or_dash(violation.step, violation.step)),
        text("MESSAGE", lambda violation: violation.message, stretch=True),
    )
    return Listing(field="violations", columns=columns, empty="")


def _or_dash(shown: str, exact: str) -> Cell:
    return Cell(shown, exact=exact) if shown else Cell("-", "faint", exact="")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
