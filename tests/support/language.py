"""Short ways to write workflow files in tests."""

from __future__ import annotations

from textwrap import dedent, indent

from taskforge.domain.workflow import Workflow
from taskforge.language.parse import parse_workflow
from taskforge.language.problems import Problem, render

HEADER = "name: example\n"


def workflow_text(steps: str, *, above: str = "", below: str = "") -> str:
    """A workflow file with these steps; `above` holds inputs and triggers, `below` the output."""
    return HEADER + _block(above) + "steps:\n" + indent(_block(steps), "  ") + _block(below)


def _block(text: str) -> str:
    text = dedent(text).strip("\n")
    return text + "\n" if text else ""


def parse_steps(steps: str, *, above: str = "", below: str = "") -> Workflow:
    """The compiled workflow of these steps; fails with the rendered problems if there are any."""
    source = workflow_text(steps, above=above, below=below)
    parsed = parse_workflow(source)
    assert not parsed.problems, "\n".join(render(problem, source) for problem in parsed.problems)
    assert parsed.workflow is not None
    return parsed.workflow


def problems_of(steps: str = "- {id: a, log: x}", *, above: str = "", below: str = "") -> tuple[Problem, ...]:
    """The problems of a workflow with these steps."""
    return parse_workflow(workflow_text(steps, above=above, below=below)).problems


def the_problem(steps: str = "- {id: a, log: x}", *, above: str = "", below: str = "") -> Problem:
    """The only problem of a workflow with these steps."""
    found = problems_of(steps, above=above, below=below)
    assert len(found) == 1, [f"{problem.code} {problem.line}:{problem.column} {problem.message}" for problem in found]
    return found[0]
