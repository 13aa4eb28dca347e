"""The entry point: the command tree, and the one place where errors end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskforge_cli.codes import ExitCode
from taskforge_cli.commanding import Entry, LazyGroup
from taskforge_cli.errors import CliError, QuietError, show
from taskforge_cli.options import from_arguments

if TYPE_CHECKING:
    from taskforge_cli.options import GlobalOptions

PROGRAM = "taskforge"
COMPLETION_VARIABLE = "_TASKFORGE_COMPLETE"

SECTIONS: Mapping[str, Sequence[Entry]] = {
    "The stack": (
        Entry("init", "Create ~/.taskforge and start the stack; harmless to repeat.", module="init"),
        Entry("up", "Start the stack and wait until it is ready.", module="stack"),
        Entry("down", "Stop the stack.", module="stack"),
        Entry("restart", "Stop and start the stack, or some of its processes.", module="stack"),
        Entry("status", "Show each process and the server's health.", module="status"),
        Entry("logs", "Show what the stack's processes write.", module="logs"),
        Entry("doctor", "Look for faults and say how to mend them.", module="doctor"),
    ),
    "Workflows and runs": (
        Entry("workflow", "Check, apply, read and draw workflows.", aliases=("wf",)),
        Entry("run", "Start runs, follow them, read them, stop them, try again."),
        Entry("dead-letter", "Decide about steps that gave up.", aliases=("dlq",)),
        Entry("schedule", "See what fires by time."),
        Entry("webhook", "Find webhook URLs and see what arrived."),
        Entry("secret", "Store values that workflows may use and nobody may read."),
    ),
    "More": (
        Entry("admin", "Look after an installation: check that nothing was lost."),
        Entry("api", "Make a raw call to the HTTP API."),
        Entry("context", "Choose between servers."),
        Entry("config", "See what is configured and where it came from."),
        Entry("completion", "Print a completion script for your shell."),
        Entry("version", "Show the version."),
        Entry("help", "Explain a topic, an error code or a command."),
        Entry("serve", "Run one service in this process; for supervisors and containers."),
    ),
}

_HELP = """Durable workflows from a terminal.

Start with `taskforge init`, then `taskforge workflow apply FILE` and `taskforge run start NAME --follow`."""


def root() -> LazyGroup:
    """The whole command tree; only names and summaries until a command is wanted."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_root_options)
    own = typer.main.get_command(app).params
    return LazyGroup(
        name=PROGRAM, sections=SECTIONS, params=list(own), help=_HELP, no_args_is_help=True, rich_markup_mode=None
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sign shows a question mark; it is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(int(run(given)))


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code. Nothing but an exit code leaves this function."""
    options = from_arguments(arguments)
    try:
        return _dispatch(_init_as_command(arguments))
    except QuietError as end:
        return end.exit_code
    except CliError as error:
        show(error, as_json=options.is_machine)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as `head` does. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        return _unexpected(error, options)


def _dispatch(arguments: list[str]) -> int:
    try:
        command = root()
        if COMPLETION_VARIABLE in os.environ:
            from typer._completion_classes import completion_init

            completion_init()
        result = command.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _usage(error, from_arguments(arguments))
    except typer.Abort:
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK


def _usage(error: Any, options: GlobalOptions) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.format_message() + "\n")
        return ExitCode.USAGE
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ") if context else ""
    hints = [f"usage: {usage}" if usage else "", f"help:  {path} --help"]
    show(CliError("USAGE", error.format_message().replace("\n\t", " "), hints=hints), as_json=options.is_machine)
    return ExitCode.USAGE


def _unexpected(error: Exception, options: GlobalOptions) -> int:
    if hasattr(error, "code") and hasattr(error, "hint") and isinstance(error.code, str):
        # An error of the stack: it carries everything that ours do.
        exit_code = ExitCode(getattr(error, "exit_code", 1))
        shown = CliError(error.code, str(error), hints=[error.hint], exit_code=exit_code)
    else:
        message = f"{type(error).__name__}: {error}"
        shown = CliError("UNEXPECTED", message, hints=["run it again with --debug and report the traceback"])
    show(shown, as_json=options.is_machine)
    if options.debug:
        import traceback

        traceback.print_exception(error)
    return shown.exit_code


def _init_as_command(arguments: list[str]) -> list[str]:
    """`taskforge --init …` is `taskforge init …`, wherever the flag stands."""
    if "--init" in arguments and arguments[0].startswith("-"):
        return ["init", *(argument for argument in arguments if argument != "--init")]
    return arguments


def _show_version(wanted: bool) -> None:
    if wanted:
        from taskforge_cli.commands.version import client_version

        sys.stdout.write(f"{PROGRAM} {client_version()}\n")
        raise typer.Exit


def _root_options(
    init: Annotated[bool, typer.Option("--init", help="The same as the command init.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    pass
