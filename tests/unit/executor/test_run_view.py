"""What an executor believes about a run, from its grants and its own look ahead."""

from __future__ import annotations

from typing import Any

from taskforge.domain.outcome import ErrorKind, StepError, Succeeded
from taskforge.executor.definitions import Definition, define
from taskforge.executor.run_view import RunView
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.language.parse import parse_workflow

SOURCE = """
name: demo
steps:
  - {id: a, http: {method: GET, url: "http://x/"}, on_error: continue}
  - id: route
    switch:
      - if: ${{ steps.a.state == 'SUCCEEDED' }}
        steps:
          - {id: yes, transform: {value: 1}}
      - else:
        steps:
          - {id: no, transform: {value: 2}}
  - {id: last, http: {method: POST, url: "http://x/"}}
"""
A, ROUTE, YES, NO, LAST = range(5)


def definition(source: str = SOURCE) -> Definition:
    workflow = parse_workflow(source).workflow
    assert workflow is not None
    return define(workflow)


def grant(step: int = A, **fields: Any) -> pb.Grant:
    lease = pb.Lease(run_id=b"\x01" * 16, step=step, token=4)
    return pb.Grant(lease=lease, attempt=1, workflow="demo", create_time_us=1_700_000_000_123_456, **fields)


def context(view: RunView) -> Any:
    return view.context()


def test_the_context_is_built_from_the_grant() -> None:
    referring = """
name: demo
inputs: {x: {type: integer}}
steps: [{id: a, transform: {value: "${{ inputs.x }} ${{ trigger.type }} ${{ run.id }}"}}]
"""
    view = RunView(definition(referring), grant(inputs_json='{"x": 1}', trigger_json='{"type": "manual"}'))
    found = context(view)
    assert found["inputs"] == {"x": 1}
    assert found["trigger"] == {"type": "manual"}
    assert found["run"]["workflow"] == "demo"
    assert found["run"]["id"] == "01010101-0101-0101-0101-010101010101"
    assert found["run"]["created_at"] == "2023-11-14T22:13:20.123456Z"
    assert found["secrets"] == {}


def test_what_nothing_refers_to_is_not_even_read() -> None:
    assert set(context(RunView(definition(), grant(inputs_json="not JSON")))) == {"steps", "secrets"}


def test_known_steps_show_their_output_or_error_and_nothing_else() -> None:
    steps = [
        pb.KnownStep(step=A, state="FAILED", error_json='{"kind": "status", "message": "m", "status": 500}'),
        pb.KnownStep(step=ROUTE, state="SUCCEEDED", output_json='{"branch": 1}', branch_plus_one=2),
        pb.KnownStep(step=YES, state="SKIPPED"),
    ]
    view = RunView(definition(), grant(NO, steps=steps))
    assert context(view)["steps"] == {
        "a": {"state": "FAILED", "error": {"kind": "status", "message": "m", "status": 500}},
        "route": {"state": "SUCCEEDED", "output": {"branch": 1}},
        "yes": {"state": "SKIPPED"},
    }
    assert view.known == {A, ROUTE, YES}
    assert view.finish(NO, Succeeded(output=2)) == [LAST]


def test_looking_ahead_makes_steps_ready_and_skips_branches() -> None:
    view = RunView(definition(), grant())
    assert view.finish(A, Succeeded(output={"status": 200})) == [ROUTE]
    assert view.carry(ROUTE, Succeeded(output={"branch": 0}, branch=0)) == [YES]
    assert context(view)["steps"]["no"] == {"state": "SKIPPED"}
    assert view.carry(YES, Succeeded(output=1)) == [LAST]
    assert view.known == {A, ROUTE, YES, NO}


def test_an_effect_is_never_carried() -> None:
    view = RunView(definition(), grant(NO, steps=[pb.KnownStep(step=ROUTE, state="SUCCEEDED", branch_plus_one=2)]))
    assert view.finish(NO, Succeeded()) == []  # what it knows of step `a` is nothing, so it does not go ahead of it
    assert view.carry(LAST, Succeeded()) is None


def test_a_failure_is_remembered_in_case_the_run_goes_on_here() -> None:
    view = RunView(definition(), grant())
    view.fail(A, StepError(kind=ErrorKind.STATUS, message="no", status=500))
    assert view.known == {A}
    view.absorb(grant(ROUTE))
    assert context(view)["steps"]["a"] == {
        "state": "FAILED",
        "error": {"kind": "status", "message": "no", "status": 500},
    }
    assert view.known == {A}
    view.absorb(grant(A))  # it is tried again after all
    assert view.known == set()


def test_secrets_are_seen_by_the_step_that_may_use_them_only() -> None:
    view = RunView(definition(), grant())
    assert view.context({"T": "v"})["secrets"] == {"T": "v"}
    assert view.context()["secrets"] == {}


def test_what_never_waits_is_not_watched() -> None:
    assert definition().watched == (True, False, False, False, True)
