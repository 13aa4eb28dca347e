"""Order, conditions, branches, joins and failures that a run goes on after."""

from __future__ import annotations

import pytest

from tests.e2e.stories import Workflows
from tests.support.api import Api, plain, step_of, step_states
from tests.support.target import Answer, Target
from tests.support.waiting import eventually


async def test_parallel_branches_run_at_once_and_join(api: Api, workflows: Workflows, target: Target) -> None:
    gates = {path: target.hold(path) for path in ("/left", "/right")}
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: left, needs: [], http: {url: $target/left}}
          - {id: right, needs: [], http: {url: $target/right}}
          - id: join
            needs: [left, right]
            transform: {value: "${{ steps.left.output.status + steps.right.output.status }}"}
        output: ${{ steps.join.output }}
    """)
    started = await api.start(name)

    def both_arrived() -> None:
        assert target.on("/left")
        assert target.on("/right")

    await eventually(both_arrived)  # neither has been answered: they run side by side
    assert step_states(await api.run(started.name))["join"] == "PENDING"
    for gate in gates.values():
        gate.set()
    assert plain((await api.ended(started.name)).output) == 400


@pytest.mark.parametrize(("color", "path", "skipped"), [("red", "/stop", {"go"}), ("green", "/go", {"stop"})])
async def test_a_switch_takes_one_branch(
    color: str, path: str, skipped: set[str], api: Api, workflows: Workflows, target: Target
) -> None:
    name = await workflows.apply("""
        name: $name
        inputs:
          color: {type: string}
        steps:
          - id: light
            switch:
              - if: ${{ inputs.color == 'red' }}
                steps:
                  - {id: stop, http: {method: POST, url: $target/stop}}
              - else:
                steps:
                  - {id: go, http: {method: POST, url: $target/go}}
          - {id: after, http: {method: POST, url: $target/after}}
    """)
    run = await api.ended((await api.start(name, color=color)).name)
    assert {step for step, state in step_states(run).items() if state == "SKIPPED"} == skipped
    assert [request.path for request in target.requests] == [path, "/after"]


async def test_an_if_that_is_false_skips_the_step_and_not_the_rest(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        inputs:
          wanted: {type: boolean}
        steps:
          - {id: maybe, if: "${{ inputs.wanted }}", transform: {value: done}}
          - {id: after, transform: {value: "${{ has(steps.maybe.output) ? steps.maybe.output : 'skipped' }}"}}
        output: ${{ steps.after.output }}
    """)
    assert plain((await api.ended((await api.start(name, wanted=True)).name)).output) == "done"
    run = await api.ended((await api.start(name, wanted=False)).name)
    assert plain(run.output) == "skipped"
    assert step_states(run) == {"maybe": "SKIPPED", "after": "SUCCEEDED"}


async def test_a_run_goes_on_after_a_failure_that_it_may_have(api: Api, workflows: Workflows, target: Target) -> None:
    target.answer("/gone", Answer(status=410, body=b"it is gone"))
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: try, http: {url: $target/gone}, on_error: continue}
          - id: tell
            transform: {value: "${{ steps.try.state }}: ${{ steps.try.error.status }}"}
        output: ${{ steps.tell.output }}
    """)
    run = await api.ended((await api.start(name)).name)
    assert plain(run.output) == "FAILED: 410"
    assert step_states(run) == {"try": "FAILED", "tell": "SUCCEEDED"}


async def test_a_fail_step_ends_the_run_with_its_message(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        inputs:
          count: {type: integer}
        steps:
          - {id: check, if: "${{ inputs.count > 3 }}", fail: "${{ inputs.count }} are too many"}
          - {id: after, transform: {value: fine}}
    """)
    await api.ended((await api.start(name, count=1)).name)
    run = await api.ended((await api.start(name, count=5)).name, "FAILED")
    assert "5 are too many" in run.error.message
    assert step_states(run) == {"check": "FAILED", "after": "CANCELLED"}
    assert await api.dead_letters(run.name) == []


async def test_an_expression_that_fails_says_where_and_why(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply("""
        name: $name
        inputs:
          order: {type: object}
        steps:
          - {id: total, transform: {value: "${{ inputs.order.totl }}"}}
    """)
    run = await api.ended((await api.start(name, order={"total": 3})).name, "FAILED")
    error = step_of(run, "total").error
    assert error.kind == "expression"
    assert "totl" in error.message
    assert "total" in error.message
