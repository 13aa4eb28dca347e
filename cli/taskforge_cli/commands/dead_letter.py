"""`taskforge dead-letter`: steps that gave up, kept until somebody decides."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

import typer

from taskforge.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLetterRequest,
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    RedriveDeadLetterRequest,
)
from taskforge_cli.columns import local_time, text, when
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.errors import CliError
from taskforge_cli.ids import short, shorten
from taskforge_cli.messages import last_part, state_of, to_plain
from taskforge_cli.output import Listing, Output
from taskforge_cli.runs import run_name
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column, one_line

app = noun("Steps that gave up, kept until somebody decides.")

_STATES = {"OPEN": "bad", "REDRIVEN": "good", "DISCARDED": "faint"}
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID", help="Ids, or unique prefixes.")]
CommentOption = Annotated[str, typer.Option("-m", "--comment", metavar="TEXT", help="Why, for the audit log.")]


@app.command("list", cls=Command, epilog=examples("taskforge dead-letter list --workflow deploy"))
def list_letters(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Option("--workflow", "-w", metavar="NAME", help="Only this workflow's.")] = "",
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Only this run's.")] = "",
    state: Annotated[str, typer.Option("--state", "-s", metavar="STATE", help="OPEN, REDRIVEN or DISCARDED.")] = "OPEN",
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="At most this many.")] = 50,
) -> None:
    """List dead letters, newest first."""
    session = Session.of(ctx)
    client = session.client()
    request = ListDeadLettersRequest(state=_state_number(state))
    if workflow:
        request.workflow = f"workflows/{last_part(workflow)}"
    if run:
        request.run = run_name(client, run)
    pages = client.pages("DeadLetterService/ListDeadLetters", request, ListDeadLettersResponse, limit=max(1, limit))
    _show_all(session.output, [letter for page in pages for letter in page.dead_letters])


@app.command("show", cls=Command)
def show(
    ctx: typer.Context, letter: Annotated[str, typer.Argument(metavar="ID", help="An id, or a unique prefix.")]
) -> None:
    """Show why a step gave up and what became of it."""
    session = Session.of(ctx)
    found = session.client().call(
        "DeadLetterService/GetDeadLetter", GetDeadLetterRequest(name=_name(letter)), DeadLetter
    )
    session.output.message(found, lambda: _describe(session.output, found))


@app.command("redrive", cls=Command)
def redrive(ctx: typer.Context, letters: IdsArgument, comment: CommentOption = "") -> None:
    """Run the steps again, with what was cancelled because of them, in the same runs."""
    session = Session.of(ctx)
    client = session.client()
    found = [
        client.call(
            "DeadLetterService/RedriveDeadLetter",
            RedriveDeadLetterRequest(name=_name(letter), comment=comment),
            DeadLetter,
        )
        for letter in letters
    ]
    _show_all(session.output, found)
    if session.output.is_human and found:
        session.output.next_step(f"taskforge run watch {short(last_part(found[0].run))}")


@app.command("discard", cls=Command)
def discard(ctx: typer.Context, letters: IdsArgument, comment: CommentOption = "") -> None:
    """Close dead letters without running anything. What they say stays readable."""
    session = Session.of(ctx)
    client = session.client()
    found = [
        client.call(
            "DeadLetterService/DiscardDeadLetter",
            DiscardDeadLetterRequest(name=_name(letter), comment=comment),
            DeadLetter,
        )
        for letter in letters
    ]
    _show_all(session.output, found)


def _show_all(output: Output, letters: list[DeadLetter]) -> None:
    ids = shorten(last_part(letter.name) for letter in letters)
    runs = shorten(last_part(letter.run) for letter in letters)
    columns = (
        Column("ID", lambda letter: Cell(ids[last_part(letter.name)], "link", exact=last_part(letter.name))),
        text("WORKFLOW", lambda letter: last_part(letter.workflow)),
        Column("RUN", lambda letter: Cell(runs[last_part(letter.run)], exact=last_part(letter.run))),
        text("STEP", lambda letter: letter.step),
        Column("STATE", _state),
        when("GAVE UP", "create_time"),
        text("ERROR", lambda letter: letter.error.message or letter.reason, stretch=True),
        text("ATTEMPTS", lambda letter: letter.attempts, wide=True),
        text("COMMENT", lambda letter: letter.comment, wide=True),
    )
    output.messages(letters, Listing(field="dead_letters", columns=columns, empty="no dead letters"))


def _describe(output: Output, letter: DeadLetter) -> None:
    run, paint = short(last_part(letter.run)), output.paint
    error = letter.error
    facts = {
        "id": last_part(letter.name),
        "state": state_of(letter),
        "step": f"{letter.step} of {last_part(letter.workflow)}, run {last_part(letter.run)}",
        "gave up": f"{local_time(letter, 'create_time')} {letter.reason.replace('_', ' ')}",
        "attempts": f"{letter.attempts}" + (f", {letter.crashes} executors lost" if letter.crashes else ""),
        "error": f"{error.kind}: {error.message}" if error.kind else error.message,
        "details": json.dumps(to_plain(error.details), ensure_ascii=False) if error.HasField("details") else "",
        "closed": f"{local_time(letter, 'close_time')} by {letter.closed_by}" if letter.closed_by else "",
        "comment": letter.comment,
    }
    output.text("".join(f"{paint(f'{name:<9}', 'faint')}{one_line(value)}\n" for name, value in facts.items() if value))
    if state_of(letter) == "OPEN":
        output.next_step(
            f"taskforge dead-letter redrive {short(last_part(letter.name))}   (the run: taskforge run show {run})"
        )


def _state(letter: Any) -> Cell:
    found = state_of(letter)
    return Cell(found, _STATES.get(found, "plain"))


def _name(text_or_name: str) -> str:
    return f"deadLetters/{last_part(text_or_name).lower()}"


def _state_number(name: str) -> DeadLetter.State:
    known = {value.name.removeprefix("STATE_"): value.number for value in DeadLetter.State.DESCRIPTOR.values}
    if name.upper() not in _STATES:
        raise CliError("USAGE", f"--state {name}: there is no such state", hints=[f"there are: {', '.join(_STATES)}"])
    return cast("DeadLetter.State", known[name.upper()])
