from __future__ import annotations

from taskforge.language.parse import parse_workflow
from taskforge.v1.workflow_pb2 import Workflow, WorkflowStep
from taskforge_cli.graph import Graph, Node, from_file, from_server, mermaid, tree_lines
from taskforge_cli.paint import Paint
from taskforge_cli.tree import to_text

SOURCE = """
name: hello
inputs: {n: {type: integer, default: 1}}
steps:
  - {id: left, log: a}
  - {id: right, needs: [], log: b}
  - {id: both, needs: [left, right], if: "${{ inputs.n > 0 }}", log: c}
  - id: route
    switch:
      - if: ${{ inputs.n > 1 }}
        steps: [{id: many, log: d}, {id: more, log: e}]
      - else:
        steps: [{id: few, log: f}]
  - {id: last, log: g}
output: ${{ inputs.n }}
"""


def local() -> Graph:
    workflow = parse_workflow(SOURCE).workflow
    assert workflow is not None
    return from_file(workflow)


def test_the_tree_says_what_waits_for_what_where_it_is_not_the_step_above() -> None:
    assert to_text(tree_lines(local()), Paint(enabled=False)) == (
        "hello\n"
        "├─ left        log\n"
        "├─ right       log     at once\n"
        "├─ both        log     after left, right  if inputs.n > 0\n"
        "├─ route       switch\n"
        "│  ├─ if inputs.n > 1\n"
        "│  │  ├─ many  log\n"
        "│  │  └─ more  log\n"
        "│  └─ else\n"
        "│     └─ few   log\n"
        "└─ last        log\n"
    )


def test_mermaid_has_a_node_a_step_and_only_the_edges_that_say_something() -> None:
    lines = [line.strip() for line in mermaid(local()).splitlines()]
    assert lines[0] == "flowchart TD"
    assert lines[9:] == [
        's0 -->|"if inputs.n &gt; 0"| s2',
        's1 -->|"if inputs.n &gt; 0"| s2',
        "s2 --> s3",
        's3 -->|"if inputs.n &gt; 1"| s4',
        "s4 --> s5",
        's3 -->|"else"| s6',
        "s5 --> s7",
        "s6 --> s7",
    ]


def test_an_applied_workflow_has_the_same_shape() -> None:
    applied = Workflow(
        name="workflows/hello",
        steps=[
            WorkflowStep(
                id=node.id,
                kind=node.kind,
                needs=node.needs,
                parent=node.parent,
                branch=node.branch,
                condition=node.condition,
            )
            for node in local().nodes
        ],
    )
    assert from_server(applied).nodes == local().nodes
    assert "branch 2" in to_text(tree_lines(from_server(applied)), Paint(enabled=False))


def test_names_cannot_break_out_of_a_mermaid_label() -> None:
    text = mermaid(Graph(name="x", nodes=(Node(id='a"]<script>', kind="log"),)))
    assert '"]<' not in text
    assert "<script>" not in text
