"""`taskforge help`: topics, error codes, and the help of any command."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from taskforge_cli import codes, topics
from taskforge_cli.commanding import Command, examples
from taskforge_cli.errors import CliError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LANGUAGE_CODE = re.compile(r"TF\d{4}")


@app.command(
    "help",
    cls=Command,
    epilog=examples("taskforge help exit-codes", "taskforge help TF1102", "taskforge help run start"),
)
def explain(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="TOPIC|CODE|COMMAND")] = [],  # noqa: B006  Typer copies it
) -> None:
    """Explain a topic, an error code or a command."""
    text = _explanation(words)
    if text is None:
        _command_help(ctx, words)
        return
    sys.stdout.write(text.rstrip("\n") + "\n")


def _explanation(words: list[str]) -> str | None:
    if not words:
        return topics.overview()
    if len(words) > 1:
        return None
    word = words[0]
    topic = topics.TOPICS.get(word.lower())
    return topic.text() if topic else _code(word.upper())


def _code(code: str) -> str | None:
    if _LANGUAGE_CODE.fullmatch(code):
        return _language_code(code)
    entry = codes.CLI_CODES.get(code) or codes.SERVER_REASONS.get(code)
    if entry is None:
        return _stack_code(code)
    title = f"{code}: {entry.title}" if entry.title else f"{code}: an answer of the server"
    exit_code = f"exit code {int(entry.exit_code)}: {codes.EXIT_MEANINGS[entry.exit_code]}"
    return f"{title}\n\n  {entry.fix.replace('`', '')}\n\n  {exit_code}\n"


def _stack_code(code: str) -> str | None:
    from taskforge_cli.stack import errors

    for kind in errors.StackError.__subclasses__():
        if kind.code == code:
            exit_code = codes.ExitCode(kind.exit_code)
            meaning = codes.EXIT_MEANINGS[exit_code]
            return f"{code}: the local stack\n\n  {kind.__doc__}\n\n  exit code {int(exit_code)}: {meaning}\n"
    return None


def _language_code(code: str) -> str:
    from taskforge.language.problems import CODES

    title = CODES.get(code)
    if title is None:
        raise CliError("TOPIC_UNKNOWN", f"there is no code {code}", hints=[f"there are: {', '.join(sorted(CODES))}"])
    return (
        f"{code}: {title}\n\n  A fault in a workflow file; the error shows its place and what is expected there.\n\n"
        f"  exit code {int(codes.ExitCode.INVALID)}: {codes.EXIT_MEANINGS[codes.ExitCode.INVALID]}\n"
    )


def _command_help(ctx: typer.Context, words: list[str]) -> None:
    """Show what `COMMAND --help` shows."""
    from taskforge_cli.main import PROGRAM, root

    tree = root()
    first = words[0]
    if tree.get_command(typer.Context(tree), first) is None:
        hints = [f"topics: {', '.join(topics.TOPICS)}", "commands: taskforge --help"]
        raise CliError("TOPIC_UNKNOWN", f"there is no topic, code or command {first!r}", hints=hints)
    tree.main(args=[*words, "--help"], prog_name=PROGRAM, standalone_mode=False)
