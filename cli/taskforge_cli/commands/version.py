"""`taskforge version`."""

from __future__ import annotations

import platform

import typer

from taskforge_cli.commanding import Command
from taskforge_cli.session import Session

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def client_version() -> str:
    """The installed version."""
    from importlib.metadata import version as installed

    return installed("taskforge")


@app.command("version", cls=Command)
def version(ctx: typer.Context) -> None:
    """Show the version of this program."""
    output = Session.of(ctx).output
    if output.is_human:
        output.text(f"taskforge {client_version()}\n")
    else:
        output.data({"version": client_version(), "python": platform.python_version()})
