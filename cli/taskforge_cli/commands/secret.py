"""`taskforge secret`: values go in and never come out. They come from a prompt, stdin or a file, never from argv."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from taskforge_cli.columns import resource, text, when
from taskforge_cli.commanding import Command, examples, noun
from taskforge_cli.errors import CliError
from taskforge_cli.messages import last_part
from taskforge_cli.output import Listing
from taskforge_cli.session import Session, read_text

app = noun("Store values that workflows may use and nobody may read.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Such as GH_TOKEN.", show_default=False)]

_LIST = Listing(
    field="secrets",
    columns=(
        resource("NAME", "name", style="strong"),
        text("VERSION", lambda secret: secret.version),
        when("UPDATED", "update_time"),
        text("USED BY", lambda secret: ", ".join(last_part(name) for name in secret.used_by) or "-"),
        when("CREATED", "create_time", wide=True),
    ),
    empty="no secrets; set one with: taskforge secret set NAME",
)


@app.command(
    "set",
    cls=Command,
    epilog=examples(
        "taskforge secret set GH_TOKEN",
        "pass show github | taskforge secret set GH_TOKEN",
        "taskforge secret set TLS_KEY --from-file key.pem",
    ),
)
def set_secret(
    ctx: typer.Context,
    name: NameArgument,
    from_file: Annotated[str, typer.Option("--from-file", metavar="FILE", help="Read it from this file.")] = "",
) -> None:
    """Store a value, encrypted. It is asked for, or read from standard input without its last line break.

    A file is stored as it is.
    """
    from taskforge.v1.secret_service_pb2 import Secret, SetSecretRequest

    session = Session.of(ctx)
    value = _value(session, name, from_file)
    request = SetSecretRequest(name=f"secrets/{last_part(name)}", value=value)
    found = session.client().call("SecretService/SetSecret", request, Secret)
    if session.output.is_human:
        session.output.note(f"stored secret {last_part(found.name)}, version {found.version}")
    else:
        session.output.message(found, lambda: None)


@app.command("list", cls=Command)
def list_secrets(ctx: typer.Context) -> None:
    """List secrets by name, and which workflows use them. Never their values."""
    from taskforge.v1.secret_service_pb2 import ListSecretsRequest, ListSecretsResponse

    session = Session.of(ctx)
    pages = session.client().pages("SecretService/ListSecrets", ListSecretsRequest(), ListSecretsResponse, limit=10_000)
    session.output.messages([secret for page in pages for secret in page.secrets], _LIST)


@app.command("delete", cls=Command)
def delete(
    ctx: typer.Context,
    name: NameArgument,
    force: Annotated[bool, typer.Option("--force", help="Although a workflow uses it.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a secret."""
    from google.protobuf.empty_pb2 import Empty

    from taskforge.v1.secret_service_pb2 import DeleteSecretRequest

    session = Session.of(ctx)
    session.confirm(f"Delete secret {last_part(name)}?", yes=yes)
    request = DeleteSecretRequest(name=f"secrets/{last_part(name)}", force=force)
    session.client().call("SecretService/DeleteSecret", request, Empty)
    session.output.note(f"deleted secret {last_part(name)}")


def _value(session: Session, name: str, path: str) -> str:
    if path:
        value = read_text(path)
    elif not sys.stdin.isatty():
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif session.options.no_input:
        hints = ["pipe the value in, or give --from-file"]
        raise CliError("SECRET_EMPTY", f"no value for {name}: --no-input was given", hints=hints)
    else:
        from getpass import getpass

        value = getpass(f"value of {name}: ")
    if not value:
        raise CliError("SECRET_EMPTY", f"the value of {name} is empty", hints=["type one, or pipe one in"])
    return value
