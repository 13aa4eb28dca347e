"""Whole runs: stretches, continuations, branches, failures, as the database tells them afterwards."""

from __future__ import annotations

from tests.integration.executor.conftest import Floor
from tests.support.target import Answer, Target

CHAIN = """
name: demo
inputs:
  base: {type: string}
steps:
  - id: fetch
    http: {method: GET, url: "${{ inputs.base }}/data"}
  - id: shape
    transform: {value: {wanted: "${{ steps.fetch.output.body.items[1] }}", many: "${{ size(steps.fetch.output.body.items) }}"}}
  - id: route
    switch:
      - if: ${{ steps.shape.output.many > 1 }}
        steps:
          - id: send
            http: {method: POST, url: "${{ inputs.base }}/sink", json: {chosen: "${{ steps.shape.output.wanted }}"}}
      - else:
        steps:
          - id: note
            log: nothing to do
output: {sent: "${{ steps.shape.output.wanted }}", status: "${{ steps.send.output.status }}"}
"""


async def test_a_chain_runs_to_its_end_in_one_task(floor: Floor, target: Target) -> None:
    target.answer("/data", Answer(json={"items": ["a", "b", "c"]}))
    run = await floor.run(CHAIN, {"base": target.url("")})

    assert (run.state, run.output) == ("SUCCEEDED", {"sent": "b", "status": 200})
    assert run.steps == {
        "0": "SUCCEEDED",
        "1": "SUCCEEDED",
        "2": "SUCCEEDED",
        "3": "SUCCEEDED",
        "4": "SKIPPED",
        "5": "SUCCEEDED",
    }
    [sent] = target.on("/sink")
    assert sent.json() == {"chosen": "b"}
    assert len(await floor.fetch("SELECT DISTINCT executor_id FROM attempts WHERE run_id = $1", run.run_id)) == 1
