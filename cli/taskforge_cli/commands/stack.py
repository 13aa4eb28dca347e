"""`taskforge up`, `down`, `restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskforge_cli.commanding import Command, examples
from taskforge_cli.session import Session

if TYPE_CHECKING:
    from taskforge_cli.stack.local import Options

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("up", cls=Command, epilog=examples("taskforge up", "taskforge up --executors 4"))
def up(
    ctx: typer.Context,
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="Listen on this port.")] = None,
    executors: Annotated[
        int | None, typer.Option("--executors", metavar="N", help="Run this many executors from now on.")
    ] = None,
    redis: Annotated[
        bool | None, typer.Option("--redis/--no-redis", help="With or without Valkey; without, executors poll.")
    ] = None,
) -> None:
    """Start the stack and wait until it is ready. Harmless when it already runs."""
    from taskforge_cli.stack.local import Options

    _start(ctx, Options(port=port, redis=redis, executors=executors))


@app.command("down", cls=Command)
def down(ctx: typer.Context) -> None:
    """Stop the stack. Data and configuration stay; runs go on after the next start."""
    from taskforge_cli.stack_session import open_stack

    output = Session.of(ctx).output
    done = open_stack().down()
    if not output.is_human:
        output.data({"stopped": list(done.stopped), "leftovers": list(done.leftovers)})
    elif done.stopped or done.leftovers:
        output.note(f"stopped {len(done.stopped) + len(done.leftovers)} processes")
        output.next_step("taskforge up")
    else:
        output.note("nothing was running")


@app.command("restart", cls=Command, epilog=examples("taskforge restart", "taskforge restart executor"))
def restart(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="PROCESS", help="Only these; see taskforge status.")] = [],  # noqa: B006  Typer copies it
) -> None:
    """Stop and start the stack, or some of its processes. Runs go on where they were."""
    from taskforge_cli.stack_session import Progress, open_stack, say_up

    output = Session.of(ctx).output
    progress = Progress()
    try:
        result = open_stack().restart(names, on_ready=progress.ready)
    finally:
        progress.end()
    say_up(output, result)


def _start(ctx: typer.Context, options: Options) -> None:
    from taskforge_cli.stack_session import Progress, open_stack, say_up

    output = Session.of(ctx).output
    stack, progress = open_stack(), Progress()
    try:
        if options.executors is not None:
            result = stack.scale(options.executors, on_ready=progress.ready)
        else:
            result = stack.up(options, on_ready=progress.ready)
    finally:
        progress.end()
    say_up(output, result)
    if output.is_human:
        output.next_step("taskforge status")
