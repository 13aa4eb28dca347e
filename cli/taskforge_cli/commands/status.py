"""`taskforge status`: the stack's processes, and what the server says about itself."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import typer

from taskforge_cli.codes import ExitCode
from taskforge_cli.commanding import Command
from taskforge_cli.errors import CliError, QuietError
from taskforge_cli.output import Listing, Output
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column
from taskforge_cli.times import elapsed

if TYPE_CHECKING:
    from taskforge.v1.system_service_pb2 import Status
    from taskforge_cli.context import Server
    from taskforge_cli.stack.status import StackStatus

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_CALL_SECONDS = 5.0
_STYLES = {"RUNNING": "good", "STARTING": "busy", "STOPPED": "faint"}


def _state(row: Any) -> Cell:
    if row.state == "RUNNING" and not row.healthy:
        return Cell("● UNHEALTHY", "bad", exact="UNHEALTHY")
    sign = "●" if row.pid or row.state == "RUNNING" else "○"  # containers show no pid
    return Cell(f"{sign} {row.state}", _STYLES.get(row.state, "bad"), exact=row.state)


def _or_dash(text: object) -> Cell:
    return Cell(str(text)) if text else Cell("-", "faint", exact="")


_PROCESSES = Listing(
    field="processes",
    columns=(
        Column("PROCESS", lambda row: Cell(row.name, "strong")),
        Column("STATE", _state),
        Column("PID", lambda row: _or_dash(row.pid), right=True),
        Column("MEMORY", lambda row: _or_dash(megabytes(row.memory_bytes)), right=True),
        Column("UPTIME", lambda row: _or_dash(elapsed(row.uptime_seconds) if row.uptime_seconds else ""), right=True),
        Column("LISTEN", lambda row: _or_dash(row.listen), stretch=True),
        Column("METRICS", lambda row: _or_dash(row.metrics), wide=True),
        Column("MESSAGE", lambda row: Cell(row.message, "warn"), stretch=True),
    ),
    empty="",
)
#: What Docker does not tell about containers leaves its columns empty.
_CONTAINERS = replace(
    _PROCESSES,
    columns=[
        replace(column, cell=lambda row: Cell("")) if column.name in ("PID", "MEMORY", "METRICS") else column
        for column in _PROCESSES.columns
    ],
)


@app.command("status", cls=Command)
def status(ctx: typer.Context) -> None:
    """Show each process of the stack, and the server's health. Exit code 7 if the server does not answer."""
    session = Session.of(ctx)
    server = session.server()
    stack = _stack(server)
    answer, failure = _ask(session)
    if session.output.is_human:
        _show(session.output, server, stack, answer)
    else:
        session.output.data(_document(server, stack, answer, failure))
    if stack is not None and not stack.running:
        session.output.note("the stack is down")
        session.output.next_step("taskforge up")
        raise QuietError(ExitCode.UNREACHABLE)
    if failure is not None:
        raise failure
    if stack is not None and not stack.healthy:
        session.output.next_step("taskforge doctor")
        raise QuietError(ExitCode.ERROR)


def megabytes(size: int) -> str:
    """A size in MB; empty for nothing."""
    return f"{size / 1e6:.0f} MB" if size else ""


def _stack(server: Server) -> StackStatus | None:
    """The stack of this home folder, if it is what the context means."""
    from taskforge_cli.stack_session import open_stack

    stack = open_stack()
    if server.context != stack.context or server.origin != "file" or not stack.home.config_file.exists():
        return None
    return stack.status()


def _ask(session: Session) -> tuple[Status | None, CliError | None]:
    from taskforge.v1.system_service_pb2 import GetStatusRequest, Status

    request = GetStatusRequest()
    try:
        return session.client().call("SystemService/GetStatus", request, Status, timeout=_CALL_SECONDS), None
    except CliError as error:
        return None, _as_unreachable(error)


def _as_unreachable(error: CliError) -> CliError:
    """No answer in time is no answer."""
    if error.code != "CALL_TIMED_OUT":
        return error
    return CliError("SERVER_UNREACHABLE", error.message, hints=["look deeper: taskforge doctor"])


def _document(
    server: Server, stack: StackStatus | None, answer: Status | None, failure: CliError | None
) -> dict[str, Any]:
    from taskforge_cli.messages import to_plain

    return {
        "server": server.url,
        "context": server.context,
        "project": stack.project if stack else "",
        "reachable": answer is not None,
        "healthy": (stack is None or stack.healthy) and _is_healthy(answer),
        "processes": [asdict(row) for row in stack.processes] if stack else [],
        "status": to_plain(answer) if answer is not None else None,
        "error": failure.as_dict()["error"] if failure is not None else None,
    }


def _show(output: Output, server: Server, stack: StackStatus | None, answer: Status | None) -> None:
    paint = output.paint
    if stack is not None:
        output.rows(stack.processes, _CONTAINERS if stack.project else _PROCESSES)
    if answer is None:
        return
    if stack is not None:
        output.text("\n")
    more = f", project {stack.project}" if stack is not None and stack.project else ""
    more += f", {megabytes(stack.memory_bytes)}" if stack is not None and stack.memory_bytes else ""
    output.text(f"{paint(server.url, 'strong')}  TaskForge {answer.version}, context {server.context}{more}\n")
    for component in answer.components:
        if not component.healthy:
            output.text(f"{paint('✗ ' + component.name, 'bad')}  {component.message}\n")
    waits = f"{answer.queued_steps} steps wait"
    if answer.oldest_queued_seconds >= 1:
        waits += f", the oldest for {elapsed(answer.oldest_queued_seconds)}"
    letters = f"{answer.open_dead_letters} open dead letter{'' if answer.open_dead_letters == 1 else 's'}"
    letters = paint(letters, "bad" if answer.open_dead_letters else "plain")
    output.text(f"{answer.active_runs} active runs · {waits} · {letters}\n")


def _is_healthy(answer: Status | None) -> bool:
    return answer is not None and all(component.healthy for component in answer.components)
