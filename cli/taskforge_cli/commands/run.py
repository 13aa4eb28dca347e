"""`taskforge run`: start, follow, read, stop, try again."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from taskforge.v1.run_pb2 import Run
from taskforge.v1.run_service_pb2 import (
    CancelRunRequest,
    ListRunsRequest,
    ListRunsResponse,
    RetryRunRequest,
)
from taskforge_cli import suggestions
from taskforge_cli.columns import lasted, resource, state, text, when
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.commands import run_logs, run_start
from taskforge_cli.errors import CliError
from taskforge_cli.ids import short, shorten
from taskforge_cli.messages import last_part, state_of, to_plain
from taskforge_cli.output import Listing
from taskforge_cli.report import look_of, next_command, whole_report
from taskforge_cli.runs import get_run, run_name
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column
from taskforge_cli.times import parse_duration, parse_moment
from taskforge_cli.tree import to_text

app = noun("Start runs, follow them, read them, stop them, try again.")

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="An id, a unique prefix, @last or @failed.",
        show_default=False,
        autocompletion=suggestions.runs,
    ),
]

app.command(
    "start",
    cls=Command,
    epilog=examples(
        "taskforge run start hello -i who=Ada --follow",
        "taskforge run start report --input-file inputs.json --wait",
        "taskforge run start deploy --idempotency-key build-812 -o name",
    ),
)(run_start.start)


@app.command("list", cls=Command, epilog=examples("taskforge run list --state FAILED --since 24h"))
def list_runs(
    ctx: typer.Context,
    workflow: Annotated[
        str,
        typer.Option(
            "--workflow", "-w", metavar="NAME", help="Only this workflow's.", autocompletion=suggestions.workflows
        ),
    ] = "",
    states: Annotated[
        list[str], typer.Option("--state", "-s", metavar="STATE", help="Only in this state; may be repeated.")
    ] = [],  # noqa: B006  Typer copies it
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Only those accepted since: 24h, or RFC 3339.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="At most this many.")] = 20,
) -> None:
    """List runs, newest first."""
    session = Session.of(ctx)
    request = ListRunsRequest(states=[_state_number(name) for name in states])
    if workflow:
        request.workflow = f"workflows/{last_part(workflow)}"
    if since:
        request.since.FromDatetime(parse_moment(since, "--since", datetime.now(UTC)).astimezone(UTC))
    pages = session.client().pages("RunService/ListRuns", request, ListRunsResponse, limit=max(1, limit))
    found = [run for page in pages for run in page.runs]
    session.output.messages(found, _listing(found))


@app.command("show", cls=Command)
def show(ctx: typer.Context, run: RunArgument) -> None:
    """Show a run: its steps, inputs, output, and why it failed."""
    session = Session.of(ctx)
    output = session.output
    found = get_run(session.client(), run)
    output.message(found, lambda: output.text(to_text(whole_report(found, look_of(output)), output.paint)))
    if output.is_human and state_of(found) != "SUCCEEDED":
        output.next_step(next_command(found))


@app.command("watch", cls=Command)
def watch(
    ctx: typer.Context,
    run: RunArgument,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="Stop watching after this long; the run goes on.")
    ] = "",
) -> None:
    """Draw a run's steps until it has ended. Ctrl-C leaves it running. The exit code is the run's: 0, 10 or 11."""
    session = Session.of(ctx)
    seconds = parse_duration(timeout, "--timeout") if timeout else None
    client = session.client()
    run_start.end_with(session, client, Run(name=run_name(client, run)), tree=True, timeout=seconds)


app.command("logs", cls=Command)(run_logs.logs)
app.command("events", cls=Command)(run_logs.events)


@app.command("output", cls=Command, epilog=examples("taskforge run output @last", "taskforge run output @last fetch"))
def show_output(
    ctx: typer.Context,
    run: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="This step's output instead of the run's.")] = "",
) -> None:
    """Print the output of a run, or of one of its steps, as JSON."""
    session = Session.of(ctx)
    found = get_run(session.client(), run)
    value = _step_output(found, step) if step else _run_output(found)
    if session.options.output or session.options.jq:
        session.output.data(value)
    else:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@app.command("cancel", cls=Command)
def cancel(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Ids, unique prefixes, @last or @failed.", autocompletion=suggestions.runs),
    ],
    comment: Annotated[str, typer.Option("-m", "--comment", metavar="TEXT", help="Why, for the history.")] = "",
) -> None:
    """Ask runs to stop. Waiting steps end at once; steps that an executor holds end first."""
    session = Session.of(ctx)
    client = session.client()
    names = [run_name(client, run) for run in runs]
    found = [client.call("RunService/CancelRun", CancelRunRequest(name=name, comment=comment), Run) for name in names]
    session.output.messages(found, _listing(found))
    if session.output.is_human and any(state_of(run) == "CANCELLING" for run in found):
        session.output.next_step(f"taskforge run watch {short(last_part(found[0].name))}")


@app.command("retry", cls=Command)
def retry(
    ctx: typer.Context,
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; the exit code says how.")] = False,
    following: Annotated[bool, typer.Option("--follow", help="Draw the steps until it has ended.")] = False,
) -> None:
    """Try again: run a run's failed and cancelled steps anew.

    It stays the same run, and keeps the outputs of the steps that succeeded.
    """
    session = Session.of(ctx)
    client = session.client()
    found = client.call("RunService/RetryRun", RetryRunRequest(name=run_name(client, run)), Run)
    if wait or following:
        run_start.end_with(session, client, found, tree=following)
    else:
        run_start.show_started(session.output, found)


def _listing(runs: list[Run]) -> Listing:
    ids = shorten(last_part(run.name) for run in runs)

    def run_id(run: Any) -> Cell:
        found = last_part(run.name)
        return Cell(ids[found], "link", exact=found)

    return Listing(
        field="runs",
        columns=(
            Column("ID", run_id),
            resource("WORKFLOW", "workflow", style="strong"),
            state(),
            text("CAUSE", _cause),
            when("STARTED", "create_time"),
            lasted("TIME", "create_time", "end_time"),
            text("REVISION", lambda run: run.revision, wide=True),
            text("LABELS", lambda run: ",".join(f"{key}={run.labels[key]}" for key in sorted(run.labels)), wide=True),
            text("ERROR", lambda run: run.error.message if run.HasField("error") else "", stretch=True),
        ),
        empty="no runs; start one with: taskforge run start WORKFLOW",
    )


def _cause(run: Run) -> str:
    kind = state_of(run.cause, "kind").lower()
    return f"{kind} {run.cause.trigger}" if run.cause.trigger else kind


def _state_number(name: str) -> Run.State:
    known = {value.name.removeprefix("STATE_"): value.number for value in Run.State.DESCRIPTOR.values if value.number}
    if name.upper() not in known:
        raise CliError("USAGE", f"--state {name}: there is no such state", hints=[f"there are: {', '.join(known)}"])
    return cast("Run.State", known[name.upper()])


def _run_output(run: Run) -> Any:
    if not run.HasField("output"):
        state_name, run_id = state_of(run), short(last_part(run.name))
        because = "its workflow has no output" if state_name == "SUCCEEDED" else f"it is {state_name}"
        hints = [f"one step's output: taskforge run output {run_id} STEP", f"see taskforge run show {run_id}"]
        raise CliError("OUTPUT_MISSING", f"run {run_id} has no output: {because}", hints=hints)
    return to_plain(run.output)


def _step_output(run: Run, step_id: str) -> Any:
    step = next((step for step in run.steps if step.id == step_id), None)
    run_id = short(last_part(run.name))
    if step is None:
        hints = [f"there are: {', '.join(step.id for step in run.steps)}"]
        raise CliError("STEP_NOT_FOUND", f"run {run_id} has no step {step_id!r}", hints=hints)
    if not step.HasField("output"):
        because = "it was too large for this answer" if step.output_omitted else f"it is {state_of(step)}"
        hints = [f"see taskforge run show {run_id}"]
        raise CliError("OUTPUT_MISSING", f"step {step_id} has no output: {because}", hints=hints)
    return to_plain(step.output)
