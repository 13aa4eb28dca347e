"""`taskforge init`: from nothing to a running stack."""

from __future__ import annotations

from typing import Annotated

import typer

from taskforge_cli.commanding import Command, examples
from taskforge_cli.session import Session

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("init", cls=Command, epilog=examples("taskforge init", "taskforge --init --port 8080"))
def init(
    ctx: typer.Context,
    runtime: Annotated[str, typer.Option("--runtime", metavar="RUNTIME", help="local or compose.")] = "",
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="Exactly this port, or fail.")] = None,
) -> None:
    """Create ~/.taskforge and start the stack.

    It creates what is missing and changes nothing that exists, so it is harmless to repeat. TASKFORGE_HOME moves the
    folder. Without --port it listens on 7610, or on the next free port, and says so.
    """
    from taskforge_cli.stack.local import Options
    from taskforge_cli.stack_session import Progress, open_stack, say_up

    output = Session.of(ctx).output
    stack = open_stack(runtime)
    options = Options(runtime=runtime or None, port=port)
    made = stack.init(options)
    if made.created:
        output.note(f"created {stack.home.root}")
    for note in made.notes:
        output.warn(note)
    progress = Progress()
    try:
        result = stack.up(options, on_ready=progress.ready)
    finally:
        progress.end()
    say_up(output, result)
    if output.is_human:
        output.next_step("taskforge workflow apply FILE   (and: taskforge status, taskforge help)")
