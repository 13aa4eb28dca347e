"""The local stack as commands use it: opened, started with progress on stderr, and never by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from taskforge_cli.errors import CliError
from taskforge_cli.paint import Paint

if TYPE_CHECKING:
    from taskforge_cli.output import Output
    from taskforge_cli.stack.local import LocalStack, UpResult

_COMPOSE_HINTS = (
    "in a checkout: deploy/compose-init && docker compose -f deploy/compose.yaml up --detach --build --wait",
    "then: taskforge context add compose --server http://127.0.0.1:7610 --token-file deploy/secrets/admin-token",
)


def open_stack(runtime: str = "") -> LocalStack:
    """The stack of the home folder.

    Raises:
        CliError: its runtime is Compose, which is driven by its own command.
    """
    from taskforge_cli.stack import config
    from taskforge_cli.stack.local import LocalStack

    stack = LocalStack()
    chosen = config.load(stack.home, flags={"runtime": runtime or None}).value("runtime")
    if chosen == "compose":
        raise CliError(
            "COMPOSE_BY_HAND",
            "the Compose stack is started and stopped with docker compose",
            hints=_COMPOSE_HINTS,
        )
    return stack


class Progress:
    """Parts as they become ready, on one growing line; only on a terminal."""

    def __init__(self) -> None:
        self._shown = 0
        self._visible = sys.stderr.isatty()
        self._paint = Paint.for_stream(sys.stderr)

    def ready(self, name: str, seconds: float) -> None:
        """A part is ready."""
        if self._visible:
            separator = "  " if self._shown else ""
            sign = self._paint("✓", "good")
            sys.stderr.write(f"{separator}{name} {sign} {self._paint(f'{seconds:.1f}s', 'faint')}")
            sys.stderr.flush()
            self._shown += 1

    def end(self) -> None:
        """Nothing more comes."""
        if self._shown:
            sys.stderr.write("\n")
            self._shown = 0


def say_up(output: Output, result: UpResult) -> None:
    """Tell where the stack listens."""
    for note in result.notes:
        output.warn(note)
    if not output.is_human:
        output.data({"server": result.url, "started": result.started, "seconds": round(result.seconds, 3)})
        return
    what = f"ready in {result.seconds:.1f}s" if result.started else "running"
    output.note(f"TaskForge is {what}")
    output.text(f"{result.url}\n")
