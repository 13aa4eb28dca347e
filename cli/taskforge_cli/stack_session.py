"""The local stack as commands use it: opened, started with progress on stderr, and never by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from taskforge_cli.paint import Paint

if TYPE_CHECKING:
    from taskforge_cli.output import Output
    from taskforge_cli.stack.compose import ComposeStack
    from taskforge_cli.stack.local import LocalStack, UpResult


def open_stack(runtime: str = "") -> LocalStack | ComposeStack:
    """The stack of the home folder, of the runtime that is configured."""
    from taskforge_cli.stack import config
    from taskforge_cli.stack.compose import ComposeStack
    from taskforge_cli.stack.local import LocalStack

    stack = LocalStack()
    chosen = config.load(stack.home, flags={"runtime": runtime or None}).value("runtime")
    if chosen == "compose":
        return ComposeStack(stack.home)
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
