"""What `run show` says about a run besides its tree: inputs, output, why it failed, and the next thing to do."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from taskforge_cli.columns import local_time
from taskforge_cli.ids import short
from taskforge_cli.messages import last_part, state_of, to_plain
from taskforge_cli.paint import can_show
from taskforge_cli.table import one_line
from taskforge_cli.tree import Line, Look, headline, step_lines

if TYPE_CHECKING:
    from taskforge.v1.run_pb2 import Run, Step
    from taskforge_cli.output import Output

_SIGNS = "✓✗├│└·→"
_MAX_INLINE = 100
_MAX_DETAIL = 400


def look_of(output: Output) -> Look:
    """How trees are drawn on standard output."""
    import shutil

    width = shutil.get_terminal_size().columns if output.is_terminal and not output.is_wide else None
    return Look(now=time.time(), width=width, unicode=can_show(sys.stdout, _SIGNS))


def whole_report(run: Run, look: Look) -> list[Line]:
    """Everything about a run."""
    lines = [headline(run, look), *_facts(run), *step_lines(run.steps, look)]
    if run.HasField("output"):
        lines += [(), *_value("output", to_plain(run.output))]
    return lines + failure(run)


def failure(run: Run) -> list[Line]:
    """Why it failed, and what may be done; nothing for a run that did not fail."""
    if state_of(run) != "FAILED" or not run.HasField("error"):
        return []
    step = next((step for step in run.steps if step.id == run.error.step), None)
    message = run.error.message.removeprefix(f"step '{run.error.step}' failed: ") or run.error.kind
    lines: list[Line] = [(), (("failed", "bad"), (": " + one_line(message), "plain"))]
    facts = [_failure_facts(run, step), *_details(run)]
    return lines + [(("  = ", "faint"), (fact, "plain")) for fact in facts if fact]


def next_command(run: Run) -> str:
    """The one command that most people want next."""
    run_id, state = short(last_part(run.name)), state_of(run)
    if state in ("FAILED", "CANCELLED"):
        return f"taskforge run retry {run_id}"
    if state != "SUCCEEDED":
        return f"taskforge run watch {run_id}"
    return f"taskforge run output {run_id}" if run.HasField("output") else f"taskforge run logs {run_id}"


def _facts(run: Run) -> list[Line]:
    cause = state_of(run.cause, "kind").lower() if run.HasField("cause") else ""
    about = [part for part in (cause, run.cause.trigger, run.cause.id if cause == "schedule" else "") if part]
    facts = {
        "id": last_part(run.name),
        "workflow": f"{last_part(run.workflow)} revision {run.revision}",
        "started by": " ".join(about),
        "accepted": local_time(run, "create_time"),
        "ended": local_time(run, "end_time"),
        "labels": ", ".join(f"{key}={run.labels[key]}" for key in sorted(run.labels)),
    }
    lines = [_fact(name, value) for name, value in facts.items() if value]
    inputs = to_plain(run.inputs) if run.HasField("inputs") else {}
    if inputs:
        lines += _value("inputs", inputs)
    return [*lines, ()]


def _fact(name: str, value: str) -> Line:
    return ((f"{name:<11}", "faint"), (one_line(value), "plain"))


def _value(name: str, value: Any) -> list[Line]:
    compact = json.dumps(value, ensure_ascii=False)
    if len(compact) <= _MAX_INLINE:
        return [_fact(name, compact)]
    indented = json.dumps(value, ensure_ascii=False, indent=2).splitlines()
    return [((name, "faint"),), *((("  " + one_line(line), "plain"),) for line in indented)]


def _failure_facts(run: Run, step: Step | None) -> str:
    facts = [f"step {run.error.step}" if run.error.step else "", f"kind {run.error.kind}" if run.error.kind else ""]
    if run.error.status:
        facts.append(f"status {run.error.status}")
    if step is not None and step.attempt:
        facts.append(f"attempt {step.attempt}/{max(step.max_attempts, step.attempt)}")
    return " · ".join(fact for fact in facts if fact)


def _details(run: Run) -> list[str]:
    """More about the error, such as what an HTTP answer said."""
    if not run.error.HasField("details"):
        return []
    details = to_plain(run.error.details)
    items = details.items() if isinstance(details, dict) else [("details", details)]
    texts = {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in items}
    return [f"{key}: {one_line(text)[:_MAX_DETAIL]}" for key, text in texts.items()]
