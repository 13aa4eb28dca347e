"""`taskforge logs`: what the stack's processes write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from taskforge_cli.codes import ExitCode
from taskforge_cli.commanding import Command, examples
from taskforge_cli.errors import QuietError
from taskforge_cli.output import Format, Output
from taskforge_cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskforge_cli.paint import Paint
    from taskforge_cli.stack.logs import LogLine

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LEVELS = {"debug": "faint", "warning": "warn", "error": "bad", "critical": "bad"}
_COLOURS = ("busy", "wait", "warn", "good", "link", "strong")


@app.command("logs", cls=Command, epilog=examples("taskforge logs gateway", "taskforge logs executor -f"))
def logs(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="PROCESS", help="Only these; see taskforge status.")] = [],  # noqa: B006  Typer copies it
    following: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written from now.")] = False,
    tail: Annotated[int, typer.Option("--tail", metavar="N", help="The last N lines of each process.")] = 50,
) -> None:
    """Print what the stack's processes write. What a run logs is at: taskforge run logs RUN."""
    from taskforge_cli.stack_session import open_stack

    output = Session.of(ctx).output
    stack = open_stack()
    chosen = stack.log_names(names)
    writer = _Writer(output, chosen)
    writer.write(stack.tail_logs(chosen, max(0, tail)))
    if following:
        try:
            writer.write(stack.follow_logs(chosen))
        except KeyboardInterrupt:
            raise QuietError(ExitCode.INTERRUPTED) from None


class _Writer:
    def __init__(self, output: Output, names: list[str]) -> None:
        self._output = output
        self._width = max((len(name) for name in names), default=0)
        self._styles = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}

    def write(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            if self._output.form in (Format.JSON, Format.JSONL):
                self._output.text(json.dumps({"process": line.process, "text": line.text}, ensure_ascii=False) + "\n")
                continue
            name = self._output.paint(f"{line.process:<{self._width}}", self._styles.get(line.process, "plain"))
            text = readable(line.text, self._output.paint) if self._output.is_terminal else line.text
            self._output.text(f"{name} {self._output.paint('|', 'faint')} {text}\n")


def readable(line: str, paint: Paint) -> str:
    """A service's JSON line for people: time, event, and what belongs to it. Other lines stay as they are."""
    try:
        record = json.loads(line) if line.startswith("{") else None
    except ValueError:
        record = None
    if not isinstance(record, dict) or "event" not in record:
        return line
    moment = str(record.pop("timestamp", ""))[11:23]
    level, event = str(record.pop("level", "info")), str(record.pop("event"))
    record.pop("service", None)
    trace = str(record.pop("exception", ""))
    rest = " ".join(f"{key}={value}" for key, value in record.items())
    shown = paint(event, _LEVELS.get(level, "plain"))
    return f"{paint(moment, 'faint')} {shown} {paint(rest, 'faint')}".rstrip() + (f"\n{trace}" if trace else "")
