"""The step tree of a run: the same lines for `run show`, `--follow` and a pipe. Pure: a run in, styled lines out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskforge_cli.ids import short
from taskforge_cli.messages import last_part, state_of, to_plain
from taskforge_cli.paint import Paint
from taskforge_cli.runs import seconds_between
from taskforge_cli.table import fit, one_line, width_of
from taskforge_cli.times import elapsed

if TYPE_CHECKING:
    from taskforge.v1.run_pb2 import Run, Step

Span = tuple[str, str]  #: text and style
Line = tuple[Span, ...]

#: How each state looks: glyph, glyph where only ASCII can be shown, style.
STATES: Mapping[str, tuple[str, str, str]] = {
    "PENDING": ("·", ".", "faint"),
    "QUEUED": ("○", "o", "faint"),
    "RUNNING": ("●", "*", "busy"),
    "RETRYING": ("↻", "r", "warn"),
    "WAITING": ("◌", "w", "wait"),
    "SUCCEEDED": ("✓", "+", "good"),
    "FAILED": ("✗", "x", "bad"),
    "SKIPPED": ("–", "-", "faint"),  # noqa: RUF001  a dash is meant
    "CANCELLING": ("◍", "c", "warn"),
    "CANCELLED": ("⊘", "c", "warn"),
}
_UNKNOWN = ("?", "?", "plain")
_NOT_TAKEN = "branch_not_taken"
_NOTE_LEAST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the tree is drawn."""

    now: float  #: seconds since the epoch
    width: int | None = None  #: columns of the terminal; None: nothing is cut
    unicode: bool = True

    def rail(self, *, last: bool) -> tuple[str, str]:
        """What stands before an entry, and before what is nested in it."""
        if self.unicode:
            return ("└─ ", "   ") if last else ("├─ ", "│  ")
        return ("`- ", "   ") if last else ("|- ", "|  ")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    rail: str
    state: str
    label: str
    kind: str = ""
    time: str = ""
    notes: Sequence[Span] = field(default=())
    faint: bool = False


def style_of(state: str) -> str:
    """The style of a state."""
    return STATES.get(state, _UNKNOWN)[2]


def glyph_of(state: str, *, unicode: bool = True) -> str:
    """The sign of a state."""
    return STATES.get(state, _UNKNOWN)[0 if unicode else 1]


def run_lines(run: Run, look: Look) -> list[Line]:
    """The whole tree: a headline, then a line a step."""
    return [headline(run, look), *step_lines(run.steps, look)]


def headline(run: Run, look: Look) -> Line:
    """The workflow, the short id, the state, and how long it has taken."""
    state = state_of(run)
    separator = (" · " if look.unicode else " - ", "faint")
    spans: list[Span] = [
        (last_part(run.workflow), "strong"),
        separator,
        (short(last_part(run.name)), "plain"),
        separator,
        (f"{glyph_of(state, unicode=look.unicode)} {state}", style_of(state)),
    ]
    if run.HasField("create_time"):
        end = run.end_time if run.HasField("end_time") else None
        spans += [separator, (elapsed(seconds_between(run.create_time, end, look.now)), "faint")]
    return tuple(spans)


def step_lines(steps: Sequence[Step], look: Look) -> list[Line]:
    """A line a step, nested as the switches are."""
    rows = list(_Tree(steps, look).rows("", ""))
    if not rows:
        return []
    label_width = max(width_of(row.rail) + width_of(row.label) for row in rows if not row.faint or row.kind) + 2
    kind_width = max(len(row.kind) for row in rows)
    time_width = max(len(row.time) for row in rows)
    return [_line(row, (label_width, kind_width, time_width), look) for row in rows]


def to_text(lines: Sequence[Line], paint: Paint) -> str:
    """Lines for a stream."""
    return "".join("".join(paint(text, style) for text, style in line).rstrip() + "\n" for line in lines)


class _Tree:
    def __init__(self, steps: Sequence[Step], look: Look) -> None:
        self._look = look
        self._children: dict[str, list[Step]] = {}
        known = {step.id for step in steps}
        for step in steps:
            self._children.setdefault(step.parent if step.parent in known else "", []).append(step)

    def rows(self, parent: str, indent: str) -> Iterator[_Row]:
        entries = self._entries(parent)
        for at, entry in enumerate(entries):
            branch, below = self._look.rail(last=at == len(entries) - 1)
            if isinstance(entry, str):
                yield _Row(
                    rail=indent + branch, state="SKIPPED", label=entry, notes=[("not taken", "faint")], faint=True
                )
                continue
            yield self._row(entry, indent + branch)
            yield from self.rows(entry.id, indent + below)

    def _entries(self, parent: str) -> list[Step | str]:
        """The steps of one level; a branch that was not taken is one entry, its ids."""
        entries: list[Step | str] = []
        passed: set[int] = set()
        children = self._children.get(parent, [])
        for step in children:
            if not parent or not self._is_passed(children, step.branch):
                entries.append(step)
            elif step.branch not in passed:
                passed.add(step.branch)
                entries.append(", ".join(other.id for other in children if other.branch == step.branch))
        return entries

    @staticmethod
    def _is_passed(children: Sequence[Step], branch: int) -> bool:
        return all(
            state_of(step) == "SKIPPED" and step.reason == _NOT_TAKEN for step in children if step.branch == branch
        )

    def _row(self, step: Step, rail: str) -> _Row:
        state = state_of(step)
        time = ""
        if step.HasField("start_time") and state not in ("PENDING", "QUEUED", "SKIPPED"):
            end = step.end_time if step.HasField("end_time") else None
            if end is not None or state == "RUNNING":
                time = elapsed(seconds_between(step.start_time, end, self._look.now))
        return _Row(
            rail=rail,
            state=state,
            label=step.id,
            kind=step.kind,
            time=time,
            notes=self._notes(step, state),
            faint=state in ("PENDING", "SKIPPED"),
        )

    def _notes(self, step: Step, state: str) -> list[Span]:
        notes: list[Span] = []
        if step.attempt > 1 or state == "RETRYING":
            notes.append((f"attempt {step.attempt}/{max(step.max_attempts, step.attempt)}", "warn"))
        if step.crashes:
            lost = "executor" if step.crashes == 1 else "executors"
            notes.append((f"{step.crashes} {lost} lost", "warn"))
        text = self._text(step, state)
        if text:
            notes.append((text, "bad" if state == "FAILED" else "faint"))
        return notes

    def _text(self, step: Step, state: str) -> str:
        if state == "RETRYING" and step.HasField("due_time"):
            due = step.due_time.seconds + step.due_time.nanos / 1e9 - self._look.now
            again = f"again in {elapsed(due)}" if due > 0 else "due"
            return f"{again}: {error_text(step.error)}" if step.HasField("error") else again
        if state == "FAILED" or (state == "RETRYING" and step.HasField("error")):
            return error_text(step.error)
        if state == "SKIPPED":
            return {"if_false": "its if was false"}.get(step.reason, step.reason.replace("_", " "))
        if state == "SUCCEEDED":
            return self._output(step)
        return {"QUEUED": "waits for an executor", "CANCELLED": "cancelled"}.get(state, "")

    def _output(self, step: Step) -> str:
        if not step.HasField("output"):
            return ""
        output = to_plain(step.output)
        if step.kind == "switch" and isinstance(output, dict):
            return self._taken(step, output.get("branch"))
        return output_text(step.kind, output)

    def _taken(self, step: Step, branch: Any) -> str:
        names = [child.id for child in self._children.get(step.id, []) if child.branch == branch]
        arrow = "→" if self._look.unicode else "->"
        return f"{arrow} {', '.join(names)}" if branch is not None and names else "no branch was true"


def error_text(error: Any) -> str:
    """A step's error in one line."""
    return one_line(error.message or error.kind)


def output_text(kind: str, output: Any) -> str:
    """A step's output, short: an HTTP answer is its status and the start of its body."""
    if output is None:
        return ""
    if kind == "http" and isinstance(output, dict) and "status" in output:
        body = output.get("body")
        return f"{output['status']}  {_compact(body)}" if body not in (None, "") else str(output["status"])
    return _compact(output)


def _compact(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _line(row: _Row, widths: tuple[int, int, int], look: Look) -> Line:
    label_width, kind_width, time_width = widths
    glyph, style = glyph_of(row.state, unicode=look.unicode), style_of(row.state)
    pad = " " * max(0, label_width - width_of(row.rail) - width_of(row.label) - 2)
    spans: list[Span] = [
        (row.rail, "faint"),
        (f"{glyph} ", style),
        (row.label + pad, "faint" if row.faint else "plain"),
    ]
    if row.kind:
        spans.append((f"  {row.kind:<{kind_width}}  {row.time:>{time_width}}", "faint"))
    used = sum(width_of(text) for text, _ in spans)
    left = None if look.width is None else max(_NOTE_LEAST, look.width - used - 2)
    for text, note_style in row.notes:
        shown = text if left is None else fit(text, left)
        spans.append(("  " + shown, note_style))
        left = None if left is None else max(0, left - width_of(shown) - 2)
        if left == 0:
            break
    return tuple(spans)
