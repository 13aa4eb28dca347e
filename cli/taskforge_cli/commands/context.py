"""`taskforge context`: which server the command line talks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.context import check_url, read_token
from taskforge_cli.errors import CliError
from taskforge_cli.output import Listing
from taskforge_cli.session import Session
from taskforge_cli.table import Cell, Column

if TYPE_CHECKING:
    from taskforge_cli.stack.configfile import ConfigFile

app = noun("Choose between servers.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The context's name.", show_default=False)]

_LIST = Listing(
    field="contexts",
    columns=(
        Column("CURRENT", lambda row: Cell("*" if row["current"] else "", "good", exact=str(row["current"]).lower())),
        Column("NAME", lambda row: Cell(row["name"], "strong")),
        Column("SERVER", lambda row: Cell(row["server"])),
        Column(
            "TOKEN", lambda row: Cell("set" if row["has_token"] else "missing", exact=str(row["has_token"]).lower())
        ),
    ),
    empty="no contexts; taskforge init makes the first",
)


@app.command("list", cls=Command)
def list_contexts(ctx: typer.Context) -> None:
    """List the servers that the config knows. Tokens are not shown."""
    session = Session.of(ctx)
    rows = _rows(_file(), session)
    if session.output.is_human:
        session.output.rows(rows, _LIST)
    else:
        session.output.listed(rows, "contexts")


@app.command("show", cls=Command)
def show(ctx: typer.Context) -> None:
    """Show the server that commands talk to now, and where that comes from."""
    session = Session.of(ctx)
    server = session.server()
    document = {
        "context": server.context,
        "server": server.url,
        "origin": server.origin,
        "has_token": bool(server.token),
    }
    if session.output.is_human:
        token = "with a token" if server.token else "without a token"
        session.output.text(f"{server.described}, {token}\n")
    else:
        session.output.data(document)


@app.command(
    "add",
    cls=Command,
    epilog=examples("taskforge context add prod --server https://tf.example.com --token-file token.txt"),
)
def add(ctx: typer.Context, name: NameArgument) -> None:
    """Add or change a context. The token is read from --token-file and kept in the config (0600)."""
    session = Session.of(ctx)
    if not session.options.server:
        raise CliError(
            "USAGE", "--server is missing", hints=[f"taskforge context add {name} --server URL --token-file FILE"]
        )
    if not name.replace("-", "").replace("_", "").isalnum():
        raise CliError("USAGE", f"{name!r} is no name for a context", hints=["use letters, digits, - and _"])
    file = _file()
    file.set(f"contexts.{name}.server", check_url(session.options.server))
    if session.options.token_file:
        file.set(f"contexts.{name}.token", read_token(session.options.token_file))
    file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.save()
    session.output.note(f"added context {name}")
    session.output.next_step(f"taskforge context use {name}")


@app.command("use", cls=Command)
def use(ctx: typer.Context, name: NameArgument) -> None:
    """Talk to this context's server from now on."""
    session = Session.of(ctx)
    file = _file()
    known = sorted(file.get("contexts", {}))
    if name not in known:
        raise CliError(
            "CONTEXT_UNKNOWN", f"there is no context {name!r}", hints=[f"there are: {', '.join(known) or 'none'}"]
        )
    if file.set("context", name):
        file.save()
    session.output.note(f"commands talk to {file.get(f'contexts.{name}.server')} from now on")


def _file() -> ConfigFile:
    from taskforge_cli.stack.configfile import ConfigFile
    from taskforge_cli.stack.home import Home

    return ConfigFile.read(Home.locate().config_file)


def _rows(file: ConfigFile, session: Session) -> list[dict[str, Any]]:
    from taskforge_cli.context import configuration

    current = configuration(session.options).value("context")
    return [
        {
            "name": name,
            "server": str(found.get("server", "")),
            "current": name == current,
            "has_token": bool(found.get("token")),
        }
        for name, found in sorted(file.get("contexts", {}).items())
        if isinstance(found, dict)
    ]
