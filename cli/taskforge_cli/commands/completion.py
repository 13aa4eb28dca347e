"""`taskforge completion`: the script that teaches a shell our commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from taskforge_cli.commanding import Command, examples
from taskforge_cli.errors import CliError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SHELLS = ("bash", "zsh", "fish")


@app.command(
    "completion",
    cls=Command,
    epilog=examples(
        'eval "$(taskforge completion bash)"     # in ~/.bashrc',
        'eval "$(taskforge completion zsh)"      # in ~/.zshrc',
        "taskforge completion fish | source     # in config.fish",
    ),
)
def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help=f"{', '.join(_SHELLS)}.", show_default=False)],
) -> None:
    """Print a completion script."""
    from taskforge_cli import main

    if shell not in _SHELLS:
        raise CliError("USAGE", f"there is no script for {shell!r}", hints=[f"there are: {', '.join(_SHELLS)}"])
    os.environ[main.COMPLETION_VARIABLE] = f"source_{shell}"
    main.run([])
