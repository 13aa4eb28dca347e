"""`taskforge run logs` and `taskforge run events`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from taskforge.v1.run_pb2 import LogLine, Run
from taskforge.v1.run_service_pb2 import (
    GetRunRequest,
    ListRunEventsRequest,
    ListRunEventsResponse,
    ListRunLogsRequest,
    ListRunLogsResponse,
)
from taskforge_cli import suggestions
from taskforge_cli.codes import ExitCode
from taskforge_cli.columns import text, when
from taskforge_cli.errors import QuietError
from taskforge_cli.follow import say_detached
from taskforge_cli.messages import to_plain
from taskforge_cli.output import Format, Listing
from taskforge_cli.paint import Paint
from taskforge_cli.runs import is_final, run_name
from taskforge_cli.session import Session
from taskforge_cli.table import one_line

if TYPE_CHECKING:
    from taskforge_cli.client import Client
    from taskforge_cli.output import Output

_POLL_SECONDS = 0.4
_PAGE = 1000
_STYLES = {"warning": "warn", "error": "bad", "debug": "faint"}
_EVENTS = Listing(
    field="events",
    columns=(
        text("SEQ", lambda event: event.sequence),
        when("TIME", "time", absolute=True),
        text("STEP", lambda event: event.step or "-"),
        text("FROM", lambda event: event.from_state or "-"),
        text("TO", lambda event: event.to_state),
        text("CAUSE", lambda event: event.cause),
        text("ATTEMPT", lambda event: event.attempt or ""),
        text("EXECUTOR", lambda event: event.executor, wide=True),
        text("MESSAGE", lambda event: event.message, stretch=True),
    ),
    empty="no events",
)


def logs(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="An id, a unique prefix, @last or @failed.", autocompletion=suggestions.runs
        ),
    ],
    step: Annotated[str, typer.Argument(metavar="STEP", help="Only this step's lines.")] = "",
    following: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run has ended.")] = False,
    tail: Annotated[int, typer.Option("--tail", metavar="N", help="Only the last N lines.", show_default=False)] = 0,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="With the time of each line.")] = False,
) -> None:
    """Print the lines that a run logged. Secrets are masked."""
    session = Session.of(ctx)
    client = session.client()
    name = run_name(client, run)
    lines = _Lines(client, name, step)
    try:
        found = list(lines.new())
        found = found[-tail:] if tail > 0 else found
        if not following and not session.output.is_human:
            session.output.listed([to_plain(line) for line in found], "lines")
            return
        _write(session.output, found, timestamps=timestamps)
        while following and not lines.ended():
            time.sleep(_POLL_SECONDS)
            _write(session.output, list(lines.new()), timestamps=timestamps)
    except KeyboardInterrupt:
        say_detached(name)
        raise QuietError(ExitCode.INTERRUPTED) from None
    if not lines.any and session.output.is_human:
        session.output.note("no lines; steps write some with the log action")


def events(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="An id, a unique prefix, @last or @failed.", autocompletion=suggestions.runs
        ),
    ],
) -> None:
    """List every change of a run and its steps, oldest first."""
    session = Session.of(ctx)
    client = session.client()
    request = ListRunEventsRequest(parent=run_name(client, run))
    pages = client.pages("RunService/ListRunEvents", request, ListRunEventsResponse, limit=100_000)
    session.output.messages([event for page in pages for event in page.events], _EVENTS)


class _Lines:
    """A run's lines, each once."""

    def __init__(self, client: Client, name: str, step: str) -> None:
        self._client = client
        self._name = name
        self._step = step
        self._after = 0
        self._run_has_ended = False
        self.any = False

    def new(self) -> Iterator[LogLine]:
        """Those that came since the last call."""
        while True:
            request = ListRunLogsRequest(
                parent=self._name, step=self._step, after_sequence=self._after, page_size=_PAGE
            )
            page = self._client.call("RunService/ListRunLogs", request, ListRunLogsResponse)
            for line in page.lines:
                self._after = max(self._after, line.sequence)
                self.any = True
                yield line
            if not page.next_page_token or not page.lines:
                return

    def ended(self) -> bool:
        """Whether there can be no more lines: the run had ended before they were last asked for."""
        before = self._run_has_ended
        self._run_has_ended = is_final(self._client.call("RunService/GetRun", GetRunRequest(name=self._name), Run))
        return before


def _write(output: Output, lines: list[LogLine], *, timestamps: bool) -> None:
    if output.form in (Format.JSON, Format.JSONL):
        output.text("".join(json.dumps(to_plain(line), ensure_ascii=False) + "\n" for line in lines))
        return
    width = max((len(line.step) for line in lines), default=0)
    output.text("".join(_text(line, width, output.paint, timestamps=timestamps) for line in lines))


def _text(line: LogLine, width: int, paint: Paint, *, timestamps: bool) -> str:
    moment = line.time.ToDatetime().replace(tzinfo=UTC).astimezone().isoformat(timespec="milliseconds")
    before = paint(f"{moment}  ", "faint") if timestamps else ""
    step = paint(f"{line.step:<{width}}", "busy")
    attempt = paint(f" #{line.attempt}", "faint") if line.attempt > 1 else ""
    level = "" if line.level in ("info", "") else paint(f"{line.level.upper()} ", _STYLES.get(line.level, "plain"))
    data = ""
    if line.HasField("data"):
        data = paint("  " + one_line(json.dumps(to_plain(line.data), ensure_ascii=False)), "faint")
    return f"{before}{step}{attempt}  {level}{one_line(line.message)}{data}\n"
