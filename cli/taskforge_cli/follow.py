"""Following a run until it ends: as a live tree, as lines in a pipe, or in silence, over connections that may break."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from taskforge.v1.run_pb2 import Run
from taskforge.v1.run_service_pb2 import WatchRunRequest, WatchRunResponse
from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import CliError, QuietError
from taskforge_cli.ids import short
from taskforge_cli.messages import last_part, state_of
from taskforge_cli.paint import Paint, can_show
from taskforge_cli.runs import is_final
from taskforge_cli.tree import Line, Look, error_text, glyph_of, run_lines, style_of, to_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from taskforge_cli.client import Client, Stream

_FRAMES_PER_SECOND = 8
_GIVE_UP_SECONDS = 60.0
#: A stream that was lost on the way looks like a run of which there is no news, so it is asked for again now and then.
_NO_NEWS_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 4.0
_SIGNS = "✓✗├│└·"


class View(Protocol):
    """Shows a run while it goes on."""

    def show(self, run: Run) -> None:
        """The run has changed."""

    def lost(self, reason: str) -> None:
        """The connection is gone; it is tried again."""


class Silence:
    """Shows nothing: for `--wait`, and for programs."""

    def show(self, run: Run) -> None:
        """Nothing."""

    def lost(self, reason: str) -> None:
        """Nothing."""


class Lines:
    """A line for each change, for a pipe or a log file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._unicode = can_show(stream, _SIGNS)
        self._seen: dict[str, tuple[str, int]] = {}

    def show(self, run: Run) -> None:
        """Write what has changed since the last time."""
        state = state_of(run)
        changed = [step for step in run.steps if self._is_new(step.id, state_of(step), step.attempt)]
        lines = [self._line(step.id, state_of(step), self._detail(step)) for step in changed if step.state > 1]
        if self._is_new("", state, 0):
            detail = error_text(run.error) if run.HasField("error") else ""
            line = self._line(f"run {last_part(run.name)}", state, detail)
            lines = [*lines, line] if is_final(run) else [line, *lines]
        self._stream.write(to_text(lines, Paint.for_stream(self._stream)))
        self._stream.flush()

    def lost(self, reason: str) -> None:
        """Write that the connection is gone."""
        sys.stderr.write(f"connection lost, trying again: {reason}\n")

    def _is_new(self, key: str, state: str, attempt: int) -> bool:
        before = self._seen.get(key)
        self._seen[key] = (state, attempt)
        return before != (state, attempt)

    def _detail(self, step: object) -> str:
        attempt, most = getattr(step, "attempt", 0), getattr(step, "max_attempts", 0)
        error = getattr(step, "error", None)
        parts = [f"attempt {attempt}/{most}" if attempt > 1 else "", error_text(error) if error else ""]
        return "  ".join(part for part in parts if part)

    def _line(self, label: str, state: str, detail: str) -> Line:
        moment = time.strftime("%H:%M:%S")
        return (
            (f"{moment}  ", "faint"),
            (f"{glyph_of(state, unicode=self._unicode)} {state:<9}", style_of(state)),
            (f"  {label}", "plain"),
            (f"  {detail}" if detail else "", "faint"),
        )


class LiveTree:
    """The tree of steps, drawn again and again in place."""

    def __init__(self, console: Console, *, unicode: bool) -> None:
        self._console = console
        self._unicode = unicode
        self._run: Run | None = None
        self._lost = ""

    def show(self, run: Run) -> None:
        """Draw the run from now on."""
        self._run, self._lost = run, ""

    def lost(self, reason: str) -> None:
        """Say under the tree that the connection is gone."""
        self._lost = reason

    def frame(self) -> Text:
        """The picture of this moment."""
        from rich.text import Text

        if self._run is None:
            return Text("")
        look = Look(now=time.time(), width=self._console.width, unicode=self._unicode)
        lines = run_lines(self._run, look)
        if self._lost:
            lines.append(((f"connection lost, trying again: {self._lost}", "warn"),))
        # The console decides about colours; here they only carry meaning.
        return Text.from_ansi(to_text(lines, Paint(enabled=True)).rstrip("\n"), no_wrap=True, overflow="ellipsis")


@contextmanager
def view_on(stream: TextIO) -> Iterator[View]:
    """The right view for a stream."""
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream, highlight=False)
    # Asked before the display starts: meanwhile it stands in for standard output and has no encoding.
    tree = LiveTree(console, unicode=can_show(stream, _SIGNS))
    # Each frame is drawn anew, since times go on while nothing else happens.
    with Live(get_renderable=tree.frame, console=console, refresh_per_second=_FRAMES_PER_SECOND):
        yield tree


def follow(client: Client, name: str, view: View, *, timeout: float | None = None) -> Run:
    """Show the run until it has ended; returns its last state.

    Raises:
        CliError: WAIT_TIMED_OUT, or the server stays away.
        QuietError: Ctrl-C. The run goes on.
    """
    watch = _Watch(client, name, view, None if timeout is None else time.monotonic() + timeout)
    try:
        return watch.run()
    except KeyboardInterrupt:
        raise QuietError(ExitCode.INTERRUPTED) from None
    finally:
        watch.close()


def say_detached(run: str) -> None:
    """Tell how to come back to a run that goes on."""
    sys.stderr.write(f"\ndetached; the run goes on. Come back with: taskforge run watch {short(last_part(run))}\n")


class _Watch:
    def __init__(self, client: Client, name: str, view: View, deadline: float | None) -> None:
        self._client = client
        self._name = name
        self._view = view
        self._deadline = deadline
        self._stream: Stream[WatchRunResponse] | None = None

    def run(self) -> Run:
        pause, lost_since = _FIRST_PAUSE_SECONDS, 0.0
        while True:
            is_heard = False
            try:
                for answer in self._open():
                    is_heard = True
                    pause, lost_since = _FIRST_PAUSE_SECONDS, 0.0
                    self._name = answer.run.name
                    self._view.show(answer.run)
                    if is_final(answer.run):
                        return answer.run
                reason = "the server ended the stream"
            except CliError as error:
                self._check(error)
                if is_heard and error.exit_code is ExitCode.TIMEOUT:
                    continue
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > _GIVE_UP_SECONDS:
                    raise
                reason = error.message
            self._view.lost(reason)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def _open(self) -> Stream[WatchRunResponse]:
        seconds = _NO_NEWS_SECONDS
        if self._deadline is not None:
            seconds = min(seconds, max(0.001, self._deadline - time.monotonic()))
        request = WatchRunRequest(name=self._name)
        self._stream = self._client.stream("RunService/WatchRun", request, WatchRunResponse, timeout=seconds)
        return self._stream

    def _check(self, error: CliError) -> None:
        """Raise what waiting does not mend."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            run = short(last_part(self._name))
            hints = [f"wait on with: taskforge run watch {run}", f"or stop it: taskforge run cancel {run}"]
            raise CliError("WAIT_TIMED_OUT", f"run {run} has not ended in time; it goes on", hints=hints) from error
        if error.exit_code not in (ExitCode.UNREACHABLE, ExitCode.TIMEOUT):
            raise error
