"""`taskforge serve`: becomes one of the services. For supervisors, containers and systemd."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from taskforge_cli.commanding import Command, examples
from taskforge_cli.errors import CliError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MODULES = {
    "gateway": "taskforge.gateway",
    "scheduler": "taskforge.scheduler",
    "ingest": "taskforge.ingest",
    "executor": "taskforge.executor",
    "migrate": "taskforge.store.migrate",
}


@app.command("serve", cls=Command, epilog=examples("taskforge serve gateway"))
def serve(
    ctx: typer.Context,
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"{', '.join(_MODULES)}.", show_default=False)],
) -> None:
    """Run one service in this process, configured by the environment: taskforge help environment."""
    module = _MODULES.get(role)
    if module is None:
        raise CliError("USAGE", f"there is no service {role!r}", hints=[f"there are: {', '.join(_MODULES)}"])
    # The process is replaced: signals and the exit code are the service's own, and nothing of ours stays in memory.
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606
