"""Plans: a workflow compiled once, rendered for each run."""

from __future__ import annotations

from typing import Any

import pytest

from taskforge.language.cel import ExpressionError
from taskforge.language.plan import StepPlan, plan_workflow
from tests.support.language import parse_steps


def plans(steps: str) -> dict[str, StepPlan]:
    return {plan.step.id: plan for plan in plan_workflow(parse_steps(steps))}


STEPS = """
    - {id: fetch, http: {url: "https://x.example/${{ run.id }}", auth: {bearer: "${{ secrets.TOKEN }}"}}}
    - {id: shape, transform: {jq: '{a: .b}', input: "${{ steps.fetch.output.body }}"}}
    - id: route
      if: ${{ steps.shape.output.a > 1 }}
      switch:
        - if: ${{ steps.shape.output.a == 2 }}
          steps: [{id: inside, log: "a is ${{ steps.shape.output.a }}"}]
        - else:
          steps: [{id: other, log: x}]
"""
CONTEXT: dict[str, Any] = {
    "run": {"id": "r1"},
    "secrets": {"TOKEN": "t"},
    "steps": {
        "fetch": {"state": "SUCCEEDED", "output": {"status": 200, "body": {"b": 2}}},
        "shape": {"state": "SUCCEEDED", "output": {"a": 2}},
    },
}


def test_there_is_a_plan_for_every_step_at_its_index() -> None:
    workflow = parse_steps(STEPS)
    assert [plan.step for plan in plan_workflow(workflow)] == list(workflow.steps)


def test_parameters_are_rendered_for_a_run() -> None:
    rendered = plans(STEPS)["fetch"].params.evaluate(CONTEXT)
    assert rendered["url"] == "https://x.example/r1"
    assert rendered["auth"] == {"type": "bearer", "token": "t"}
    assert rendered["expect_status"] == ["2xx"]


def test_a_jq_program_is_not_rendered_but_its_input_is() -> None:
    plan = plans(STEPS)["shape"]
    assert plan.params.evaluate(CONTEXT) == {"input": {"b": 2}}
    assert plan.step.params["jq"] == "{a: .b}"


def test_a_switch_has_a_condition_for_each_branch() -> None:
    plan = plans(STEPS)["route"]
    assert plan.condition is not None
    assert plan.condition.holds(CONTEXT)
    first, otherwise = plan.branches
    assert first is not None
    assert first.holds(CONTEXT)
    assert otherwise is None
    assert plan.params.evaluate(CONTEXT) == {}


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(ExpressionError, match="the secret 'TOKEN' is not set"):
        plans(STEPS)["fetch"].params.evaluate({**CONTEXT, "secrets": {}})


def test_reads_and_secrets_of_a_step_are_all_that_its_plan_touches() -> None:
    for plan in plans(STEPS).values():
        touched = {path for expression in plan.params.expressions for path in expression.paths}
        steps = {path[1] for path in touched if path[0] == "steps"}
        secrets = {path[1] for path in touched if path[0] == "secrets"}
        assert secrets == set(plan.step.secrets)
        assert {parse_steps(STEPS).by_id[str(id)].index for id in steps} <= set(plan.step.reads)
