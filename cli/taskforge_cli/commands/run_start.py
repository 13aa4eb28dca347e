"""`taskforge run start`, and what it shares with other commands that wait for a run."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskforge.v1.run_pb2 import Run
from taskforge.v1.run_service_pb2 import StartRunRequest
from taskforge.v1.workflow_pb2 import Workflow
from taskforge.v1.workflow_service_pb2 import GetWorkflowRequest
from taskforge_cli import inputs as given_inputs
from taskforge_cli import suggestions
from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import QuietError
from taskforge_cli.follow import Silence, follow, say_detached, view_on
from taskforge_cli.ids import short
from taskforge_cli.messages import last_part, state_of
from taskforge_cli.paint import Paint
from taskforge_cli.report import failure, next_command
from taskforge_cli.runs import exit_code_of
from taskforge_cli.session import Session
from taskforge_cli.times import parse_duration
from taskforge_cli.tree import glyph_of, style_of, to_text

if TYPE_CHECKING:
    from taskforge_cli.client import Client
    from taskforge_cli.output import Output


def start(  # noqa: PLR0913  a command's options are its parameters
    ctx: typer.Context,
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW", help="The workflow's name.", show_default=False, autocompletion=suggestions.workflows
        ),
    ],
    inputs: Annotated[
        list[str], typer.Option("-i", "--input", metavar="NAME=VALUE", help="An input; may be repeated.")
    ] = [],  # noqa: B006  Typer copies it
    input_file: Annotated[
        str, typer.Option("--input-file", metavar="FILE", help="Inputs as one JSON or YAML object; - reads stdin.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; the exit code says how.")] = False,
    following: Annotated[bool, typer.Option("--follow", help="Draw the steps until it has ended.")] = False,
    idempotency_key: Annotated[
        str, typer.Option("--idempotency-key", metavar="KEY", help="The same key answers with the same run.")
    ] = "",
    labels: Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="A label; may be repeated.")] = [],  # noqa: B006  Typer copies it
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="Stop waiting after this long; the run goes on.")
    ] = "",
) -> None:
    """Start a run of a workflow's current revision.

    The command answers once the run is durable. Exit codes with --wait and --follow: 0 it SUCCEEDED, 10 it FAILED,
    11 it was CANCELLED, 8 --timeout passed.
    """
    session = Session.of(ctx)
    seconds = parse_duration(timeout, "--timeout") if timeout else None
    client = session.client()
    name = last_part(workflow)
    request = StartRunRequest(
        workflow=f"workflows/{name}",
        request_id=idempotency_key,
        labels=given_inputs.pairs(labels, "--label"),
    )
    request.inputs.update(_inputs(client, name, inputs, input_file))
    run = client.call("RunService/StartRun", request, Run)
    if following or wait:
        end_with(session, client, run, tree=following, timeout=seconds)
    else:
        show_started(session.output, run)


def end_with(session: Session, client: Client, run: Run, *, tree: bool, timeout: float | None = None) -> None:
    """Wait for a run, show how it ended, and end the command with the run's exit code.

    Raises:
        QuietError: always, unless it SUCCEEDED.
    """
    output = session.output
    with view_on(sys.stdout) if tree and output.is_human else nullcontext(Silence()) as view:
        try:
            ended = follow(client, run.name, view, timeout=timeout)
        except QuietError as detached:
            interrupted = detached
            ended = None
    if ended is None:
        say_detached(run.name)
        raise interrupted
    output.message(ended, lambda: _show_ended(output, ended, tree=tree))
    if output.is_human:
        output.next_step(next_command(ended))
    code = exit_code_of(ended)
    if code is not ExitCode.OK:
        raise QuietError(code)


def show_started(output: Output, run: Run) -> None:
    """Say that a run has been accepted; in a pipe, its id alone."""
    run_id = last_part(run.name)

    def human() -> None:
        if not output.is_terminal:
            output.text(f"{run_id}\n")
            return
        state = state_of(run)
        sign = output.paint(f"{glyph_of(state)} {state}", style_of(state))
        output.text(f"{last_part(run.workflow)} · {run_id} · {sign}\n")

    output.message(run, human)
    if output.is_human:
        output.next_step(next_command(run))


def _show_ended(output: Output, run: Run, *, tree: bool) -> None:
    if not tree:
        state = state_of(run)
        sign = output.paint(f"{glyph_of(state)} {state}" if output.is_terminal else state, style_of(state))
        run_id = last_part(run.name)
        output.text(f"{run_id}\t{state}\n" if not output.is_terminal else f"{short(run_id)} {sign}\n")
    sys.stderr.write(to_text(failure(run), Paint.for_stream(sys.stderr)))


def _inputs(client: Client, workflow: str, texts: list[str], path: str) -> dict[str, Any]:
    found = given_inputs.read_input_file(path) if path else {}
    given = given_inputs.pairs(texts, "-i")
    if given:
        answer = client.call("WorkflowService/GetWorkflow", GetWorkflowRequest(name=f"workflows/{workflow}"), Workflow)
        declared = json.loads(answer.inputs_schema_json or "{}")
        found |= given_inputs.typed_inputs(given, declared, workflow)
    for name, value in found.items():
        given_inputs.check_exact(value, name)
    return found
