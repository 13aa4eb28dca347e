"""What `workflow show` says about a workflow. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from taskforge_cli.columns import local_time
from taskforge_cli.graph import from_server, tree_lines
from taskforge_cli.messages import last_part
from taskforge_cli.table import one_line, width_of
from taskforge_cli.tree import Line

if TYPE_CHECKING:
    from taskforge.v1.workflow_pb2 import Workflow


def workflow_lines(workflow: Workflow) -> list[Line]:
    """Everything about a workflow."""
    lines: list[Line] = [((last_part(workflow.name), "strong"), (f"  {one_line(workflow.description)}", "plain"))]
    facts = {
        "revision": f"{workflow.revision} of {local_time(workflow, 'update_time')}",
        "hash": workflow.source_hash[:12],
        "labels": ", ".join(f"{key}={workflow.labels[key]}" for key in sorted(workflow.labels)),
    }
    lines += [((f"{name:<10}", "faint"), (value, "plain")) for name, value in facts.items() if value]
    inputs: dict[str, Any] = json.loads(workflow.inputs_schema_json or "{}")
    lines += _section("inputs", [(name, _schema(schema)) for name, schema in inputs.items()])
    triggers = [(trigger.id, f"{trigger.kind}  {trigger.summary}") for trigger in workflow.triggers]
    lines += _section("triggers", triggers)
    return [*lines, (), (("steps", "faint"),), *tree_lines(from_server(workflow))[1:]]


def _section(title: str, rows: list[tuple[str, str]]) -> list[Line]:
    if not rows:
        return []
    width = max(width_of(name) for name, _ in rows)
    lines: list[Line] = [(), ((title, "faint"),)]
    for name, about in rows:
        lines.append(((f"  {name}{' ' * (width - width_of(name))}", "plain"), (f"  {one_line(about)}", "faint")))
    return lines


def _schema(schema: Any) -> str:
    """A JSON Schema in a few words."""
    if not isinstance(schema, dict):
        return ""
    types = schema.get("type", "any")
    parts = [types if isinstance(types, str) else " or ".join(types)]
    if "enum" in schema:
        parts.append("one of " + ", ".join(_compact(value) for value in schema["enum"]))
    parts.append(f"default {_compact(schema['default'])}" if "default" in schema else "required")
    if schema.get("description"):
        parts.append(str(schema["description"]))
    return ", ".join(parts)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
