"""Options that work everywhere: before the command, and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from typer.core import TyperArgument, TyperOption

    Parameter = TyperArgument | TyperOption

FORMATS = ("table", "wide", "json", "jsonl", "yaml", "name")
_PREFIX = "global_"


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalOptions:
    """What was given, in any place."""

    output: str = ""
    jq: str = ""
    columns: str = ""
    context: str = ""
    server: str = ""
    token_file: str = ""
    no_color: bool = False
    no_input: bool = False
    debug: bool = False

    @property
    def is_machine(self) -> bool:
        """Whether a program reads the output, and so the errors."""
        return self.output in ("json", "jsonl") or bool(self.jq)


def merged(options: GlobalOptions, given: Mapping[str, Any]) -> GlobalOptions:
    """The options with what a (sub)command was given; the innermost wins."""
    values = {name.removeprefix(_PREFIX): value for name, value in given.items()}
    if values.pop("json", False):
        values["output"] = "json"
    return replace(options, **{name: value for name, value in values.items() if value})


def take(parameters: dict[str, Any]) -> dict[str, Any]:
    """Remove the global options from a command's parameters and return them."""
    return {name: parameters.pop(name) for name in list(parameters) if name.startswith(_PREFIX)}


def from_arguments(arguments: Sequence[str]) -> GlobalOptions:
    """A guess for errors that come before the options are parsed."""
    machine = any(argument in ("--json", "-ojson", "--output=json") for argument in arguments)
    pairs = pairwise(arguments)
    machine = machine or any(flag in ("-o", "--output") and value in ("json", "jsonl") for flag, value in pairs)
    return GlobalOptions(output="json" if machine else "", debug="--debug" in arguments)


@cache
def parameters() -> tuple[Parameter, ...]:
    """The options as parameters that any command can take. They are the same objects everywhere."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_carrier)
    found: tuple[Any, ...] = tuple(typer.main.get_command(app).params)
    return found


def _carrier(  # noqa: PLR0913  it is the list of the options
    global_output: Annotated[
        str, typer.Option("-o", "--output", metavar="FORMAT", help=f"Form of the result: {', '.join(FORMATS)}.")
    ] = "",
    global_json: Annotated[bool, typer.Option("--json", help="Short for -o json.")] = False,
    global_jq: Annotated[
        str, typer.Option("-q", "--jq", metavar="EXPR", help="Run a jq program on the JSON result.")
    ] = "",
    global_columns: Annotated[
        str, typer.Option("--columns", metavar="A,B", help="Columns of the table, in this order.")
    ] = "",
    global_context: Annotated[
        str, typer.Option("-C", "--context", metavar="NAME", help="Use this context of the config.")
    ] = "",
    global_server: Annotated[str, typer.Option("--server", metavar="URL", help="Use this server.")] = "",
    global_token_file: Annotated[
        str, typer.Option("--token-file", metavar="FILE", help="Read the token from this file.")
    ] = "",
    global_no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
    global_no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; fail instead.")] = False,
    global_debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault.")] = False,
) -> None:
    pass
