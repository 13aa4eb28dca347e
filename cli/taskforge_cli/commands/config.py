"""`taskforge config`: what is configured, and where it came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.context import configuration, resolve
from taskforge_cli.errors import CliError
from taskforge_cli.output import Listing
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column

app = noun("See what is configured and where it came from.")

_MASK = "…"


def _value(row: dict[str, Any]) -> Cell:
    return Cell(str(row["value"])) if row["value"] not in ("", None) else Cell("-", "faint", exact="")


_COLUMNS = (
    Column("KEY", lambda row: Cell(row["key"], "strong")),
    Column("VALUE", _value),
    Column("ORIGIN", lambda row: Cell(row["origin"], "faint")),
)


@app.command("list", cls=Command)
def list_settings(
    ctx: typer.Context,
    origin: Annotated[bool, typer.Option("--origin", help="With where each value came from.")] = False,
) -> None:
    """List every setting. Flags win over TASKFORGE_* variables, which win over the file. Tokens are not shown."""
    session = Session.of(ctx)
    found = configuration(session.options)
    rows = [
        {
            "key": setting.key,
            "value": _MASK if setting.secret and setting.value else setting.value,
            "origin": setting.origin,
        }
        for setting in found.settings.values()
    ]
    if session.output.is_human:
        session.output.rows(rows, Listing(field="settings", columns=_COLUMNS if origin else _COLUMNS[:2], empty=""))
    else:
        session.output.listed(rows, "settings")


@app.command("path", cls=Command)
def path(ctx: typer.Context) -> None:
    """Print the config file's path."""
    from taskforge_cli.stack.home import Home

    Session.of(ctx).output.text(f"{Home.locate().config_file}\n")


@app.command("token", cls=Command, epilog=examples("taskforge config token | taskforge secret set API_TOKEN"))
def token(ctx: typer.Context) -> None:
    """Print the token that commands send. It opens everything: keep it to yourself."""
    session = Session.of(ctx)
    found = resolve(session.options)
    if not found.token:
        hints = ["taskforge context add NAME --server URL --token-file FILE"]
        raise CliError("TOKEN_INVALID", f"there is no token for {found.described}", hints=hints)
    session.output.text(f"{found.token}\n")
