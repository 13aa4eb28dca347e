"""Whole runs: stretches, continuations, branches, failures, as the database tells them afterwards."""

from __future__ import annotations

import asyncio

from aiohttp import web

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
    transform:
      value:
        wanted: ${{ steps.fetch.output.body.items[1] }}
        many: ${{ size(steps.fetch.output.body.items) }}
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


async def test_a_long_pure_run_is_one_stretch(floor: Floor) -> None:
    steps = "\n".join(f"  - {{id: s{index}, transform: {{value: {index}}}}}" for index in range(40))
    run = await floor.run(f"name: demo\nsteps:\n{steps}\noutput: ${{{{ steps.s39.output }}}}\n")
    assert (run.state, run.output) == ("SUCCEEDED", 39)
    assert len(await floor.fetch("SELECT 1 FROM attempts WHERE run_id = $1", run.run_id)) == 41


async def test_conditions_skip_and_what_follows_sees_it(floor: Floor, target: Target) -> None:
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: POST, url: "{target.url("/a")}"}}, if: "${{{{ 1 > 2 }}}}"}}
  - {{id: b, transform: {{value: "${{{{ has(steps.a.output) }}}}"}}}}
  - {{id: c, http: {{method: POST, url: "{target.url("/c")}"}}, if: "${{{{ steps.b.output == false }}}}"}}
output: {{a: "${{{{ steps.a.state }}}}", c: "${{{{ steps.c.output.status }}}}"}}
""")
    assert (run.state, run.output) == ("SUCCEEDED", {"a": "SKIPPED", "c": 200})
    assert not target.on("/a")
    assert len(target.on("/c")) == 1


async def test_parallel_branches_meet_again(floor: Floor, target: Target) -> None:
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: POST, url: "{target.url("/a")}"}}}}
  - {{id: b, needs: [], http: {{method: POST, url: "{target.url("/b")}"}}}}
  - {{id: c, needs: [a, b], transform: {{value: "${{{{ steps.a.output.status + steps.b.output.status }}}}"}}}}
  - {{id: d, http: {{method: POST, url: "{target.url("/d")}", json: "${{{{ steps.c.output }}}}"}}}}
output: ${{{{ steps.c.output }}}}
""")
    assert (run.state, run.output) == ("SUCCEEDED", 400)
    assert [received.json() for received in target.on("/d")] == [400]
    assert len(target.on("/a")) == len(target.on("/b")) == 1


async def test_retries_repeat_the_request_with_the_same_key(floor: Floor, target: Target) -> None:
    target.answer("/x", Answer(status=503), Answer(status=503), Answer(json={"ok": True}))
    run = await floor.run(f"""
name: demo
steps:
  - id: a
    http: {{method: POST, url: "{target.url("/x")}"}}
    retry: {{max_attempts: 5, initial: 10ms, max: 20ms, on: [5xx]}}
  - {{id: b, transform: {{value: "${{{{ steps.a.output.body.ok }}}}"}}}}
output: ${{{{ steps.b.output }}}}
""")
    assert (run.state, run.output) == ("SUCCEEDED", True)
    received = target.on("/x")
    assert len(received) == 3
    assert len({request.headers["idempotency-key"] for request in received}) == 1
    assert [request.headers["taskforge-attempt"].partition(";")[0] for request in received] == ["1", "2", "3"]
    assert {request.headers["taskforge-run"] for request in received} == {str(run.run_id)}


async def test_a_run_goes_on_after_a_step_that_may_fail(floor: Floor, target: Target) -> None:
    target.answer("/x", Answer(status=418))
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: POST, url: "{target.url("/x")}"}}, on_error: continue}}
  - {{id: b, transform: {{value: "${{{{ steps.a.state }}}}"}}}}
  - {{id: c, http: {{method: POST, url: "{target.url("/y")}", json: "${{{{ steps.b.output }}}}"}}}}
output: ${{{{ steps.b.output }}}}
""")
    assert (run.state, run.output) == ("SUCCEEDED", "FAILED")
    assert target.on("/y")[0].json() == "FAILED"


async def test_failures_of_every_pure_kind_end_the_run(floor: Floor) -> None:
    cases = {
        "transform: {value: '${{ inputs.x.y }}'}": "expression",
        "transform: {jq: '.a.b', input: 5}": "expression",
        "transform: {jq: 'def f: f; f', input: 1}\n    timeout: 500ms": "timeout",
        "fail: 'no: ${{ inputs.x }}'": "fail",
        "transform: {jq: '[range(600000)]', input: 1}": "output",
    }
    for action, kind in cases.items():
        run = await floor.run(f"name: demo\ninputs:\n  x: {{default: 1}}\nsteps:\n  - id: a\n    {action}\n", {"x": 1})
        assert (run.state, run.error["kind"]) == ("FAILED", kind), (action, run)


async def test_a_jq_program_and_costly_expressions_run_apart(floor: Floor) -> None:
    run = await floor.run("""
name: demo
steps:
  - {id: a, transform: {jq: "map(. * 2)", input: [1, 2, 3]}}
  - {id: b, transform: {value: "${{ steps.a.output.filter(x, x > 2) }}"}}
  - id: c
    if: ${{ steps.b.output.exists(x, x == 6) }}
    transform: {value: "yes"}
output: ["${{ steps.b.output }}", "${{ steps.c.output }}"]
""")
    assert (run.state, run.output) == ("SUCCEEDED", [[4, 6], "yes"])


async def test_log_lines_are_stored_with_the_step(floor: Floor) -> None:
    run = await floor.run("""
name: demo
steps:
  - {id: a, log: {message: "hello ${{ run.workflow }}", level: warning, data: {n: 1}}}
  - {id: b, log: plain}
""")
    assert run.state == "SUCCEEDED"
    lines = await floor.fetch("SELECT step, number, level, message, data FROM logs WHERE run_id = $1", run.run_id)
    found = sorted((line["step"], line["number"], line["level"], line["message"], line["data"]) for line in lines)
    assert [line[:4] for line in found] == [(0, 1, "warning", "hello demo"), (1, 1, "info", "plain")]
    assert found[0][4].replace(" ", "") == '{"n":1}'


async def test_an_output_that_is_too_large_fails_the_step_not_the_run_forever(floor: Floor, target: Target) -> None:
    target.answer("/big", Answer(body=b"x" * 1_048_500, headers={"Content-Type": "text/plain"}))
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: GET, url: "{target.url("/big")}", max_body: 1MiB}}}}
""")
    assert (run.state, run.error["kind"]) == ("FAILED", "output")
    assert "cannot be stored" in run.error["message"]


async def test_bytes_that_the_database_refuses_never_reach_it(floor: Floor, target: Target) -> None:
    target.answer("/nul", Answer(body=b'{"a": "\\u0000"}', headers={"Content-Type": "application/json"}))
    target.answer("/half", Answer(body=b'{"a": "\\ud800"}', headers={"Content-Type": "application/json"}))
    for path in ("/nul", "/half"):
        run = await floor.run(f"name: demo\nsteps:\n  - {{id: a, http: {{method: GET, url: '{target.url(path)}'}}}}\n")
        assert (run.state, run.error["kind"]) == ("FAILED", "output"), run


async def test_a_step_that_takes_too_long_times_out(floor: Floor, target: Target) -> None:
    target.hold("/slow")
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: POST, url: "{target.url("/slow")}"}}, timeout: 300ms}}
""")
    assert (run.state, run.error["kind"]) == ("FAILED", "timeout")


async def test_the_deadline_is_total_however_slowly_an_answer_drips(floor: Floor, target: Target) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.05)
        except ConnectionError:
            return response

    target.handle("/drip", drip)
    run = await floor.run(f"""
name: demo
steps:
  - {{id: a, http: {{method: GET, url: "{target.url("/drip")}"}}, timeout: 500ms, retry: {{max_attempts: 1}}}}
""")
    assert (run.state, run.error["kind"]) == ("FAILED", "timeout")
