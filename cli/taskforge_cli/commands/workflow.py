"""`taskforge workflow`: check, apply, read, draw, delete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskforge_cli import suggestions
from taskforge_cli.columns import resource, text, when
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.errors import CliError
from taskforge_cli.messages import last_part, state_of
from taskforge_cli.output import Listing
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column

if TYPE_CHECKING:
    from taskforge.v1.workflow_pb2 import Workflow
    from taskforge_cli.definitions import Definition
    from taskforge_cli.graph import Graph
    from taskforge_cli.output import Output

app = noun("Check, apply, read and draw workflows.")

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The workflow's name.", show_default=False, autocompletion=suggestions.workflows
    ),
]
PathsArgument = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Files, or folders that hold *.yaml files; - reads stdin.", show_default=False),
]

_CHANGES = {"CREATED": "good", "UPDATED": "busy", "UNCHANGED": "faint"}
_LIST = Listing(
    field="workflows",
    columns=(
        resource("NAME", "name", style="strong"),
        text("REVISION", lambda workflow: workflow.revision),
        text("TRIGGERS", lambda workflow: ", ".join(trigger.id for trigger in workflow.triggers) or "-"),
        when("UPDATED", "update_time"),
        text("DESCRIPTION", lambda workflow: workflow.description, stretch=True),
        text("LABELS", lambda found: ",".join(f"{key}={found.labels[key]}" for key in sorted(found.labels)), wide=True),
        text("HASH", lambda workflow: workflow.source_hash[:12], wide=True),
    ),
    empty="no workflows; apply one with: taskforge workflow apply FILE",
)


def _change(result: object) -> Cell:
    found = state_of(result, "change")
    return Cell(found.lower(), _CHANGES.get(found, "plain"), exact=found)


_APPLIED = Listing(
    field="results",
    columns=(
        Column("NAME", lambda result: Cell(last_part(result.workflow.name), "strong")),
        text("REVISION", lambda result: result.workflow.revision),
        Column("CHANGE", _change),
        text("TRIGGERS", lambda result: ", ".join(trigger.id for trigger in result.workflow.triggers) or "-"),
    ),
    empty="",
)


@app.command(
    "validate",
    cls=Command,
    epilog=examples("taskforge workflow validate hello.yaml", "taskforge workflow validate workflows/ -o json"),
)
def validate(ctx: typer.Context, paths: PathsArgument) -> None:
    """Check files offline: every fault, with its line and column. Exit code 3 if there are errors."""
    from taskforge_cli.codes import ExitCode
    from taskforge_cli.definitions import read_definitions, require_valid
    from taskforge_cli.errors import QuietError

    output = Session.of(ctx).output
    definitions = read_definitions(paths)
    if not output.is_human:
        output.listed([definition.as_dict() for definition in definitions], "files")
        if any(definition.parsed.errors for definition in definitions):
            raise QuietError(ExitCode.INVALID)
    require_valid(definitions)
    if output.is_human:
        _warn(definitions)
        for definition in definitions:
            sign = output.paint("✓", "good") + " " if output.is_terminal else ""
            output.text(f"{sign}{definition.filename}\t{definition.name}\n".expandtabs(4 if output.is_terminal else 1))


@app.command(
    "apply",
    cls=Command,
    epilog=examples("taskforge workflow apply hello.yaml", "taskforge workflow apply workflows/ --dry-run"),
)
def apply(
    ctx: typer.Context,
    paths: PathsArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
) -> None:
    """Check files and store them, all or none. A workflow whose text has not changed keeps its revision."""
    from taskforge.v1.workflow_service_pb2 import ApplyWorkflowsRequest, ApplyWorkflowsResponse, WorkflowSource
    from taskforge_cli.definitions import read_definitions, require_valid

    session = Session.of(ctx)
    definitions = read_definitions(paths)
    require_valid(definitions)
    request = ApplyWorkflowsRequest(
        sources=[WorkflowSource(filename=found.filename, source=found.source) for found in definitions],
        validate_only=dry_run,
    )
    answer = session.client().call("WorkflowService/ApplyWorkflows", request, ApplyWorkflowsResponse)
    session.output.messages(answer.results, _APPLIED)
    if session.output.is_human:
        for warning in [warning for result in answer.results for warning in result.warnings]:
            session.output.warn(warning)
        if not dry_run and answer.results:
            session.output.next_step(f"taskforge run start {last_part(answer.results[0].workflow.name)} --follow")


@app.command("list", cls=Command)
def list_workflows(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="At most this many.")] = 500,
) -> None:
    """List workflows by name."""
    from taskforge.v1.workflow_service_pb2 import ListWorkflowsRequest, ListWorkflowsResponse

    session = Session.of(ctx)
    pages = session.client().pages(
        "WorkflowService/ListWorkflows", ListWorkflowsRequest(), ListWorkflowsResponse, limit=max(1, limit)
    )
    session.output.messages([workflow for page in pages for workflow in page.workflows], _LIST)


@app.command("show", cls=Command)
def show(
    ctx: typer.Context,
    name: NameArgument,
    revision: Annotated[
        int, typer.Option("--revision", metavar="N", help="This revision, not the current one.", show_default=False)
    ] = 0,
    source: Annotated[bool, typer.Option("--source", help="Print the YAML text alone.")] = False,
) -> None:
    """Show a workflow: its inputs, triggers and steps."""
    session = Session.of(ctx)
    found = _get(session, name, revision)
    if source:
        session.output.text(found.source)
    else:
        session.output.message(found, lambda: _describe(session.output, found))


@app.command(
    "graph",
    cls=Command,
    epilog=examples("taskforge workflow graph hello.yaml", "taskforge workflow graph hello --format mermaid"),
)
def graph(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A workflow, or a file.", show_default=False)],
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="tree or mermaid.")] = "tree",
) -> None:
    """Draw a workflow's steps and what waits for what."""
    from taskforge_cli.graph import mermaid, tree_lines
    from taskforge_cli.tree import to_text

    if form not in ("tree", "mermaid"):
        raise CliError("USAGE", f"--format {form}: there is no such format", hints=["there are: tree, mermaid"])
    session = Session.of(ctx)
    found = _graph(session, name)
    session.output.text(mermaid(found) if form == "mermaid" else to_text(tree_lines(found), session.output.paint))


@app.command("delete", cls=Command)
def delete(
    ctx: typer.Context,
    name: NameArgument,
    force: Annotated[bool, typer.Option("--force", help="Although runs have not ended; they go on.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a workflow with its schedules and webhooks. Its runs and their history stay."""
    from google.protobuf.empty_pb2 import Empty

    from taskforge.v1.workflow_service_pb2 import DeleteWorkflowRequest

    session = Session.of(ctx)
    session.confirm(f"Delete workflow {last_part(name)} with its schedules and webhooks?", yes=yes)
    request = DeleteWorkflowRequest(name=f"workflows/{last_part(name)}", force=force)
    session.client().call("WorkflowService/DeleteWorkflow", request, Empty)
    session.output.note(f"deleted workflow {last_part(name)}")


def _get(session: Session, name: str, revision: int = 0) -> Workflow:
    from taskforge.v1.workflow_pb2 import Workflow
    from taskforge.v1.workflow_service_pb2 import GetWorkflowRequest

    request = GetWorkflowRequest(name=f"workflows/{last_part(name)}", revision=revision)
    return session.client().call("WorkflowService/GetWorkflow", request, Workflow)


def _graph(session: Session, name: str) -> Graph:
    from taskforge_cli.definitions import read_definitions, require_valid
    from taskforge_cli.graph import from_file, from_server

    if name != "-" and not name.endswith((".yaml", ".yml")) and not Path(name).is_file():
        return from_server(_get(session, name))
    [definition] = read_definitions([name])
    require_valid([definition])
    assert definition.parsed.workflow is not None, "a valid file has a workflow"  # noqa: S101
    return from_file(definition.parsed.workflow)


def _describe(output: Output, found: Workflow) -> None:
    from taskforge_cli.describe import workflow_lines
    from taskforge_cli.tree import to_text

    output.text(to_text(workflow_lines(found), output.paint))


def _warn(definitions: list[Definition]) -> None:
    from taskforge_cli.definitions import rendered
    from taskforge_cli.paint import Paint

    paint = Paint.for_stream(sys.stderr)
    for definition in definitions:
        for problem in definition.parsed.problems:
            sys.stderr.write(rendered(definition, problem, paint) + "\n\n")
