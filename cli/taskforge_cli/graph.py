"""A workflow's steps as a picture: a tree for the terminal, Mermaid for pages. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taskforge_cli.table import one_line, width_of
from taskforge_cli.tree import Line

if TYPE_CHECKING:
    from taskforge.domain.workflow import Workflow as LocalWorkflow
    from taskforge.v1.workflow_pb2 import Workflow

_HIDDEN_KIND = "output"
_SHAPES = {"switch": ("{{", "}}"), "http": ("[", "]"), "fail": ("[/", "/]"), "log": (">", "]")}
_MAX_CONDITION = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step."""

    id: str
    kind: str
    needs: tuple[str, ...] = ()
    parent: str = ""
    branch: int = 0
    condition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A workflow's steps in the order of the file."""

    name: str
    nodes: tuple[Node, ...]
    branches: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: conditions of each switch, if known

    def direct_needs(self) -> dict[str, tuple[str, ...]]:
        """What each step waits for, without what it waits for anyway through others."""
        needs = {node.id: node.needs for node in self.nodes}
        above: dict[str, set[str]] = {}
        for node in self.nodes:
            above[node.id] = set(node.needs).union(*(above.get(need, set()) for need in node.needs))
        return {
            name: tuple(need for need in wanted if not any(need in above.get(other, ()) for other in wanted))
            for name, wanted in needs.items()
        }


def from_server(workflow: Workflow) -> Graph:
    """The graph of an applied workflow."""
    nodes = tuple(
        Node(
            id=step.id,
            kind=step.kind,
            needs=tuple(step.needs),
            parent=step.parent,
            branch=step.branch,
            condition=step.condition,
        )
        for step in workflow.steps
        if step.kind != _HIDDEN_KIND
    )
    return Graph(name=workflow.name.rpartition("/")[2], nodes=nodes)


def from_file(workflow: LocalWorkflow) -> Graph:
    """The graph of a file."""
    steps = workflow.steps
    nodes = tuple(
        Node(
            id=step.id,
            kind=step.kind.value,
            needs=tuple(steps[need].id for need in step.needs),
            parent="" if step.parent is None else steps[step.parent].id,
            branch=step.branch or 0,
            condition=step.condition or "",
        )
        for step in steps
        if step.kind.value != _HIDDEN_KIND
    )
    branches = {
        step.id: [condition or "" for condition in step.params.get("branches", [])]
        for step in steps
        if step.kind.value == "switch"
    }
    return Graph(name=workflow.name, nodes=nodes, branches=branches)


def tree_lines(graph: Graph) -> list[Line]:
    """A line a step, nested as the switches are; what it waits for is said where it is not the step above."""
    rows = list(_rows(graph, "", "", graph.direct_needs()))
    steps = [row for row in rows if row[2]]
    width = max((width_of(rail) + width_of(label) for rail, label, _, _ in steps), default=0)
    kind_width = max((len(kind) for _, _, kind, _ in steps), default=0)
    lines: list[Line] = [((graph.name, "strong"),)]
    for rail, label, kind, note in rows:
        pad = " " * (width - width_of(rail) - width_of(label))
        if kind:
            lines.append(
                ((rail, "faint"), (label + pad, "plain"), (f"  {kind:<{kind_width}}", "busy"), (f"  {note}", "faint"))
            )
        else:
            lines.append(((rail, "faint"), (label, "wait")))
    return lines


def mermaid(graph: Graph) -> str:
    """A flowchart in Mermaid, as GitHub draws it."""
    direct = graph.direct_needs()
    number = {node.id: f"s{at}" for at, node in enumerate(graph.nodes)}
    by_id = {node.id: node for node in graph.nodes}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        left, right = _SHAPES.get(node.kind, ("(", ")"))
        lines.append(f'  {number[node.id]}{left}"{_quoted(node.id)}<br/><small>{node.kind}</small>"{right}')
    for node in graph.nodes:
        for need in direct[node.id]:
            if need not in number:
                continue
            label = _edge_label(graph, node, by_id[need])
            lines.append(f"  {number[need]} -->{label} {number[node.id]}")
    return "\n".join(lines) + "\n"


def _rows(
    graph: Graph, parent: str, indent: str, direct: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, str, str]]:
    children = [node for node in graph.nodes if node.parent == parent]
    for at, node in enumerate(children):
        last = at == len(children) - 1
        rail, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield indent + rail, node.id, node.kind, _note(node, children[at - 1] if at else None, parent, direct)
        if node.kind == "switch":
            yield from _branch_rows(graph, node, indent + below, direct)


def _branch_rows(
    graph: Graph, switch: Node, indent: str, direct: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, str, str]]:
    inside = [node for node in graph.nodes if node.parent == switch.id]
    branches = sorted({node.branch for node in inside})
    for at, branch in enumerate(branches):
        last = at == len(branches) - 1
        rail, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield indent + rail, branch_title(graph, switch.id, branch), "", ""
        part = Graph(
            name="",
            nodes=tuple(node for node in graph.nodes if node.parent != switch.id or node.branch == branch),
            branches=graph.branches,
        )
        yield from _rows(part, switch.id, indent + below, direct)


def branch_title(graph: Graph, switch: str, branch: int) -> str:
    """A branch in words: its condition where it is known, else its number."""
    conditions = graph.branches.get(switch, ())
    if branch >= len(conditions):
        return f"branch {branch + 1}"
    return f"if {_short(conditions[branch])}" if conditions[branch] else "else"


def _note(node: Node, before: Node | None, parent: str, direct: Mapping[str, tuple[str, ...]]) -> str:
    notes = []
    wanted = direct[node.id]
    after = tuple(need for need in wanted if need != parent)
    if before is not None and not wanted:
        notes.append("at once")
    elif after and not (before is not None and _follows(after, before, direct)):
        notes.append(f"after {', '.join(after)}")
    if node.condition:
        notes.append(f"if {_short(node.condition)}")
    return "  ".join(notes)


def _follows(after: Sequence[str], before: Node, direct: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the step simply comes after the one above it, or after what is nested in that."""
    return all(need == before.id or _is_below(need, before.id, direct) for need in after)


def _is_below(step: str, top: str, direct: Mapping[str, tuple[str, ...]]) -> bool:
    return any(need == top or _is_below(need, top, direct) for need in direct.get(step, ()))


def _edge_label(graph: Graph, node: Node, need: Node) -> str:
    if node.parent == need.id:
        return f'|"{_quoted(branch_title(graph, need.id, node.branch))}"|'
    return f'|"{_quoted("if " + _short(node.condition))}"|' if node.condition else ""


def _short(expression: str) -> str:
    text = one_line(expression).strip()
    return text if len(text) <= _MAX_CONDITION else text[: _MAX_CONDITION - 1] + "…"


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;").replace("<", "&lt;").replace(">", "&gt;")
