"""Steps compile to what the engine follows: order, nesting, defaults, parameters."""

from __future__ import annotations

from typing import Any

import pytest

from taskforge.domain.workflow import NO_RETRY, ActionKind, Backoff, Effect, Jitter, OnUnknown, RetryPolicy, Step
from tests.support.language import parse_steps


def needs(steps: str) -> dict[str, list[str]]:
    """Ids of what each step needs."""
    compiled = parse_steps(steps).steps
    return {step.id: [compiled[need].id for need in step.needs] for step in compiled}


def only_step(text: str, **above: str) -> Step:
    return parse_steps(text, **above).steps[0]


# --- order ---------------------------------------------------------------------------------------


def test_a_step_starts_after_the_one_written_above_it() -> None:
    assert needs("""
        - {id: a, log: x}
        - {id: b, log: x}
        - {id: c, log: x}
    """) == {"a": [], "b": ["a"], "c": ["b"]}


def test_needs_replaces_the_default() -> None:
    assert needs("""
        - {id: a, log: x}
        - {id: b, log: x, needs: []}
        - {id: c, log: x, needs: [a, b]}
    """) == {"a": [], "b": [], "c": ["a", "b"]}


SWITCH = """
    - {id: first, log: x}
    - id: route
      switch:
        - if: ${{ true }}
          steps:
            - {id: a1, log: x}
            - {id: a2, log: x}
        - else:
          steps:
            - id: inner
              switch:
                - if: ${{ true }}
                  steps:
                    - {id: deep, log: x}
            - {id: b2, log: x}
    - {id: after, log: x}
"""


def test_steps_in_a_switch_need_it_and_what_follows_needs_them_all() -> None:
    assert needs(SWITCH) == {
        "first": [],
        "route": ["first"],
        "a1": ["route"],
        "a2": ["route", "a1"],
        "inner": ["route"],
        "deep": ["inner"],
        "b2": ["route", "inner", "deep"],
        "after": ["route", "a1", "a2", "inner", "deep", "b2"],
    }


def test_steps_know_their_switch_and_their_branch() -> None:
    steps = parse_steps(SWITCH).by_id
    route, inner = steps["route"].index, steps["inner"].index
    nested = {id: (step.parent, step.branch) for id, step in steps.items() if step.parent is not None}
    assert nested == {
        "a1": (route, 0),
        "a2": (route, 0),
        "inner": (route, 1),
        "deep": (inner, 0),
        "b2": (route, 1),
    }


def test_needs_on_a_switch_means_everything_in_it() -> None:
    found = needs(SWITCH + "    - {id: last, log: x, needs: [route]}\n")
    assert found["last"] == ["route", "a1", "a2", "inner", "deep", "b2"]


def test_a_nested_step_keeps_its_switch_whatever_it_needs() -> None:
    found = needs("""
        - {id: first, log: x}
        - id: route
          needs: []
          switch:
            - if: ${{ true }}
              steps:
                - {id: a, log: x, needs: []}
                - {id: b, log: x, needs: [first]}
                - {id: c, log: x, needs: [route]}
    """)
    assert found == {
        "first": [],
        "route": [],
        "a": ["route"],
        "b": ["first", "route"],
        "c": ["route"],
    }


def test_the_output_is_a_hidden_last_step_that_needs_all_others() -> None:
    workflow = parse_steps("- {id: a, log: x}\n- {id: b, needs: [], log: x}", below="output: ${{ steps.a.state }}")
    last = workflow.steps[-1]
    assert workflow.has_output
    assert (last.id, last.kind, last.needs, last.reads) == ("output", ActionKind.OUTPUT, (0, 1), (0,))
    assert last.params == {"value": "${{ steps.a.state }}"}


def test_a_workflow_without_output_has_no_hidden_step() -> None:
    workflow = parse_steps("- {id: a, log: x}")
    assert not workflow.has_output
    assert len(workflow.steps) == 1


# --- what a step reads ---------------------------------------------------------------------------


def test_reads_and_secrets_come_from_every_expression_of_the_step() -> None:
    step = parse_steps("""
        - {id: a, transform: {value: 1}}
        - {id: b, transform: {value: 1}}
        - {id: unused, log: x}
        - id: send
          if: ${{ steps.a.output > 0 }}
          http:
            method: POST
            url: https://example.com/${{ steps["b"].output }}
            headers: {authorization: "Bearer ${{ secrets.TOKEN }}", x-key: "${{ secrets['KEY'] }}"}
    """).by_id["send"]
    assert step.reads == (0, 1)
    assert step.secrets == ("KEY", "TOKEN")


def test_a_switch_reads_what_its_conditions_read_and_not_what_its_steps_read() -> None:
    steps = parse_steps("""
        - {id: a, transform: {value: 1}}
        - {id: b, transform: {value: 1}}
        - id: route
          switch:
            - if: ${{ steps.a.output == 1 }}
              steps:
                - {id: inside, log: "${{ steps.b.output }}"}
    """).by_id
    assert steps["route"].reads == (0,)
    assert steps["inside"].reads == (1,)


# --- defaults ------------------------------------------------------------------------------------

SAFE = frozenset({"connect", "timeout", "network", "429", "5xx"})
CONNECT = frozenset({"connect"})


@pytest.mark.parametrize(
    ("method", "effect", "retried_on"),
    [
        ("GET", Effect.IDEMPOTENT, SAFE),
        ("HEAD", Effect.IDEMPOTENT, SAFE),
        ("PUT", Effect.IDEMPOTENT, SAFE),
        ("DELETE", Effect.IDEMPOTENT, SAFE),
        ("OPTIONS", Effect.IDEMPOTENT, SAFE),
        ("POST", Effect.AT_LEAST_ONCE, CONNECT),
        ("PATCH", Effect.AT_LEAST_ONCE, CONNECT),
    ],
)
def test_a_request_has_its_effect_by_method_and_is_retried_accordingly(
    method: str, effect: Effect, retried_on: frozenset[str]
) -> None:
    step = only_step(f"- {{id: a, http: {{method: {method}, url: 'https://x.example'}}}}")
    assert (step.effect, step.retry.on, step.retry.max_attempts) == (effect, retried_on, 3)
    assert (step.timeout, step.on_unknown) == (60.0, OnUnknown.RETRY)


def test_a_post_that_is_said_to_be_idempotent_is_retried_like_a_get() -> None:
    step = only_step("- {id: a, effect: idempotent, http: {method: POST, url: 'https://x.example'}}")
    assert step.retry.on == SAFE


def test_at_most_once_is_never_repeated_when_its_outcome_is_unknown() -> None:
    step = only_step("- {id: a, effect: at_most_once, http: {method: POST, url: 'https://x.example'}}")
    assert (step.on_unknown, step.retry.on) == (OnUnknown.FAIL, CONNECT)


@pytest.mark.parametrize("action", ["log: x", "fail: x", "transform: {value: 1}", "transform: {jq: .}"])
def test_other_actions_are_pure_quick_and_not_retried(action: str) -> None:
    step = only_step(f"- {{id: a, {action}}}")
    assert (step.effect, step.timeout, step.retry, step.is_pure) == (Effect.PURE, 10.0, NO_RETRY, True)


def test_a_retry_block_is_read_as_it_stands() -> None:
    step = only_step("""
        - id: a
          http: {url: 'https://x.example'}
          retry:
            {max_attempts: 5, backoff: linear, initial: 500ms, factor: 3, max: 1m, jitter: none, max_elapsed: 10m,
             on: [connect, 429, 5xx]}
    """)
    assert step.retry == RetryPolicy(
        max_attempts=5,
        on=frozenset({"connect", "429", "5xx"}),
        backoff=Backoff.LINEAR,
        initial=0.5,
        factor=3.0,
        max_delay=60.0,
        jitter=Jitter.NONE,
        max_elapsed=600.0,
    )


def test_a_retry_block_without_classes_keeps_those_of_the_effect() -> None:
    step = only_step("- {id: a, http: {method: POST, url: 'https://x.example'}, retry: {max_attempts: 9}}")
    assert (step.retry.max_attempts, step.retry.on) == (9, CONNECT)


def test_on_error_of_a_switch_is_the_default_of_the_steps_inside() -> None:
    steps = parse_steps("""
        - id: route
          on_error: continue
          switch:
            - if: ${{ true }}
              steps:
                - {id: a, log: x}
                - {id: b, log: x, on_error: fail}
                - id: inner
                  switch:
                    - else:
                      steps:
                        - {id: deep, log: x}
        - {id: after, log: x}
    """).by_id
    going_on = {id for id, step in steps.items() if step.continue_on_error}
    assert going_on == {"route", "a", "inner", "deep"}


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("log: hello ${{ run.id }}", {"message": "hello ${{ run.id }}", "level": "info"}),
        ("log: {message: x, level: error, data: {a: 1}}", {"message": "x", "level": "error", "data": {"a": 1}}),
        ("log: {message: x, data: null}", {"message": "x", "level": "info", "data": None}),
        ("fail: nothing to do", {"message": "nothing to do"}),
        ("fail: {message: x}", {"message": "x"}),
        ("transform: {value: {a: '${{ run.id }}', n: 1}}", {"value": {"a": "${{ run.id }}", "n": 1}}),
        ("transform: {value: null}", {"value": None}),
        ("transform: {jq: .a, input: '${{ inputs }}'}", {"jq": ".a", "input": "${{ inputs }}"}),
        ("transform: {jq: .}", {"jq": ".", "input": None}),
    ],
)
def test_actions_keep_their_parameters(action: str, params: dict[str, Any]) -> None:
    assert only_step(f"- id: a\n  {action}").params == params


def test_a_request_keeps_its_parameters_with_the_defaults_filled_in() -> None:
    step = only_step("- {id: a, http: {url: 'https://x.example'}}")
    assert step.params == {
        "method": "GET",
        "url": "https://x.example",
        "query": {},
        "headers": {},
        "expect_status": ["2xx"],
        "follow_redirects": False,
        "max_body": 1024 * 1024,
    }


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("json: null", "json", None),
        ("json: {a: [1]}", "json", {"a": [1]}),
        ("form: {a: 1, b: [x, y]}", "form", {"a": 1, "b": ["x", "y"]}),
        ("body: text", "body", "text"),
        ("auth: {bearer: t}", "auth", {"type": "bearer", "token": "t"}),
        ("auth: {basic: {username: u, password: p}}", "auth", {"type": "basic", "username": "u", "password": "p"}),
        ("expect: {status: 404}", "expect_status", [404]),
        ("expect: {status: [200, 3xx]}", "expect_status", [200, "3xx"]),
        ("max_body: 64KiB", "max_body", 65_536),
        ("query: {q: 5, tag: [a, b]}", "query", {"q": 5, "tag": ["a", "b"]}),
    ],
)
def test_a_request_takes_what_is_written(written: str, key: str, value: Any) -> None:
    step = only_step(f"- id: a\n  http: {{method: POST, url: 'https://x.example', {written}}}")
    assert step.params[key] == value


def test_conditions_lose_their_braces() -> None:
    steps = parse_steps(
        """
        - {id: a, log: x, if: "${{ inputs.n > 1 }}"}
        - {id: b, log: x, if: false}
        - id: route
          switch:
            - if: ${{ inputs.n == 1 }}
              steps: [{id: c, log: x}]
            - else:
              steps: [{id: d, log: x}]
    """,
        above="inputs: {n: {type: integer, default: 1}}",
    ).by_id
    assert [steps[id].condition for id in ("a", "b", "route")] == ["inputs.n > 1", "false", None]
    assert steps["route"].params == {"branches": ["inputs.n == 1", None]}


def test_names_and_labels_are_kept() -> None:
    step = only_step("- {id: a, name: Say it, labels: {team: infra}, log: x}")
    assert (step.name, step.labels) == ("Say it", {"team": "infra"})
