"""What a command has at hand: its options, its output, and the server if it asks for one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import CliError, QuietError
from taskforge_cli.options import FORMATS, GlobalOptions
from taskforge_cli.output import Format, Output

if TYPE_CHECKING:
    from taskforge_cli.client import Client
    from taskforge_cli.context import Server


class Session:
    """One call of the command line."""

    def __init__(self, options: GlobalOptions) -> None:
        self.options = options
        if options.no_color:
            os.environ["NO_COLOR"] = "1"
        columns = [name.strip() for name in options.columns.split(",") if name.strip()]
        self.output = Output(_form(options.output), jq=options.jq, columns=columns)

    @classmethod
    def of(cls, ctx: typer.Context) -> Session:
        """The session of a command."""
        return cls(ctx.obj if isinstance(ctx.obj, GlobalOptions) else GlobalOptions())

    def server(self) -> Server:
        """The server that the options, the environment and the config name.

        Raises:
            CliError: there is none.
        """
        from taskforge_cli.context import resolve

        return resolve(self.options)

    def client(self) -> Client:
        """A connection to the server."""
        from taskforge_cli.client import Client

        return Client(self.server())

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is destroyed.

        Raises:
            CliError: CONFIRMATION_MISSING, if nobody can answer.
            QuietError: the answer was no.
        """
        if yes:
            return
        if self.options.no_input or not sys.stdin.isatty():
            raise CliError(
                "CONFIRMATION_MISSING", question.rstrip("?"), hints=["give --yes to do it without being asked"]
            )
        if not typer.confirm(question, err=True):
            self.output.note("nothing was done")
            raise QuietError(ExitCode.ERROR)


def read_text(path: str) -> str:
    """A file's text; `-` is standard input.

    Raises:
        CliError: FILE_UNREADABLE.
    """
    try:
        # Bytes, since a text file would change line ends: what is stored and hashed is what the file holds.
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise CliError("FILE_UNREADABLE", f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CliError("FILE_UNREADABLE", f"{path} is no UTF-8 text") from error


def _form(text: str) -> Format | None:
    if text and text not in FORMATS:
        raise CliError("USAGE", f"-o {text}: there is no such format", hints=[f"there are: {', '.join(FORMATS)}"])
    return Format(text) if text else None
