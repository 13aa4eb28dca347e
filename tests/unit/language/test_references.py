"""Expressions refer only to what exists by then, to declared inputs, and to secrets where secrets belong."""

from __future__ import annotations

import pytest

from taskforge.language.problems import Severity
from tests.support.language import parse_steps, problems_of, the_problem

INPUTS = """
    inputs:
      repo: {type: string}
      count: {type: integer, default: 1}
      note: {type: string, required: false}
"""
WEBHOOK = """
    triggers:
      - {id: hook, webhook: {verify: {scheme: none}}}
"""
SCHEDULE = """
    triggers:
      - {id: tick, every: 10s}
"""


# --- steps ---------------------------------------------------------------------------------------


def test_a_parallel_step_cannot_be_read_and_the_missing_need_is_named() -> None:
    problem = the_problem("""
        - {id: a, transform: {value: 1}}
        - {id: b, needs: [], transform: {value: 1}}
        - {id: c, needs: [b], log: "${{ steps.a.output }}"}
    """)
    assert problem.code == "TF1203"
    assert problem.message == "step 'a' may not have finished when 'c' starts"
    assert problem.hint == "add it: needs: [b, a]"


def test_the_hint_keeps_the_step_that_is_needed_by_default() -> None:
    problem = the_problem("""
        - {id: a, transform: {value: 1}}
        - {id: b, needs: [], transform: {value: 1}}
        - {id: c, log: "${{ steps.a.output }}"}
    """)
    assert problem.hint == "add it: needs: [b, a]"


def test_needs_reach_through_other_steps() -> None:
    parse_steps("""
        - {id: a, transform: {value: 1}}
        - {id: b, log: x}
        - {id: c, log: "${{ steps.a.output }}"}
    """)


@pytest.mark.parametrize(
    ("reference", "code", "message", "hint"),
    [
        ("steps.b.output", "TF1203", "step 'b' reads itself", ""),
        ("steps.c.output", "TF1203", "step 'c' runs after 'b'", "a step reads steps above it"),
        ("steps.aa.output", "TF1202", "no step 'aa'", "did you mean 'a'?"),
        ("steps.zzzzz.output", "TF1202", "no step 'zzzzz'", "known here: a, b, c"),
        ("steps.a.outptu", "TF1202", "a step has no 'outptu'", "read steps.a.output.outptu?"),
        (
            "steps.a.error.kind",
            "TF1202",
            "step 'a' has no error to read: its failure ends the run",
            "set on_error: continue on 'a'",
        ),
        ("steps", "TF1202", "a step is named, not computed", "write steps.NAME.output"),
        ("steps[run.id].output", "TF1202", "a step is named, not computed", "write steps.NAME.output"),
        ("run.attempt", "TF1202", "no field of run 'attempt'", "known here: created_at, id, workflow"),
        ("run.idd", "TF1202", "no field of run 'idd'", "did you mean 'id'?"),
    ],
)
def test_a_wrong_reference_is_explained(reference: str, code: str, message: str, hint: str) -> None:
    problem = the_problem(f"""
        - {{id: a, transform: {{jq: .}}}}
        - {{id: b, log: "${{{{ {reference} }}}}"}}
        - {{id: c, log: x}}
    """)
    assert (problem.code, problem.message, problem.hint) == (code, message, hint)


@pytest.mark.parametrize(
    ("action", "reference", "message", "hint"),
    [
        (
            "http: {url: 'https://x.example'}",
            "bdy.x",
            "the output of http step 'a' has no 'bdy'",
            "did you mean 'body'?",
        ),
        ("http: {url: 'https://x.example'}", "headers['ETag']", "names of headers are lower-case", "write 'etag'"),
        ("log: x", "message", "the output of log step 'a' has no 'message'", ""),
        (
            "transform: {value: {total: 1, inner: {x: 1}}}",
            "totl",
            "steps.a.output has no 'totl'",
            "did you mean 'total'?",
        ),
        ("transform: {value: {inner: {x: 1}}}", "inner.y", "steps.a.output.inner has no 'y'", "known here: x"),
    ],
)
def test_a_field_that_an_output_never_has_is_refused(action: str, reference: str, message: str, hint: str) -> None:
    problem = the_problem(f"- {{id: a, {action}}}\n- id: b\n  log: ${{{{ steps.a.output.{reference} }}}}")
    assert problem.code == "TF1202"
    assert problem.message.startswith(message)
    assert problem.hint == hint


def test_fields_that_only_the_data_knows_are_left_to_the_run() -> None:
    parse_steps("""
        - {id: a, http: {url: 'https://x.example'}}
        - {id: b, transform: {value: {body: "${{ steps.a.output.body }}"}}}
        - {id: c, log: "${{ steps.b.output.body.anything.at[0].all }} ${{ steps.a.output.headers['x-any'] }}"}
    """)


BRANCHES = """
    - id: route
      switch:
        - if: ${{ run.id == '1' }}
          steps:
            - {id: one, transform: {value: 1}}
            - {id: two, log: "${{ steps.one.output }}"}
        - else:
          steps:
            - {id: other, log: "%s"}
    - {id: after, log: "%s"}
"""


def test_a_step_cannot_read_one_in_another_branch() -> None:
    problem = the_problem(BRANCHES % ("${{ steps.one.output }}", "x"))
    assert (problem.code, problem.line) == ("TF1203", 11)
    assert problem.message == "steps 'one' and 'other' are in two branches: only one of them runs"


def test_a_step_that_runs_in_one_branch_only_is_read_with_a_warning_unless_it_is_tested() -> None:
    problem = the_problem(BRANCHES % ("x", "${{ steps.one.output }}"))
    assert (problem.code, problem.severity) == ("TF1901", Severity.WARNING)
    assert problem.message == "step 'one' runs only in one branch of 'route'"
    assert problem.hint == "guard it: has(steps.one.output) ? … : …"
    parse_steps(BRANCHES % ("x", "${{ has(steps.one.output) ? steps.one.output : 0 }}"))
    parse_steps(BRANCHES % ("x", "${{ steps.one.?output.orValue(0) }}"))
    parse_steps(BRANCHES % ("x", "${{ steps.one.state }}"))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("if: '${{ run.id == 1 }}'", "", "step 'a' is skipped when its `if` is false"),
        ("on_error: continue", "", "step 'a' may have failed (on_error: continue)"),
        ("if: '${{ run.id == 1 }}'", "if: '${{ run.id == 1 }}'", None),
        ("if: '${{ run.id == 1 }}'", "if: \"${{ steps.a.state == 'SUCCEEDED' }}\"", None),
        ("if: '${{ run.id == 1 }}'", "if: '${{ has(steps.a.output) }}'", None),
    ],
)
def test_a_step_that_may_have_no_output_is_read_with_a_warning(first: str, second: str, message: str | None) -> None:
    extra = f", {second}" if second else ""
    found = problems_of(f"""
        - {{id: a, {first}, transform: {{value: 1}}}}
        - {{id: b{extra}, log: "${{{{ steps.a.output }}}}"}}
    """)
    assert [problem.message for problem in found] == ([message] if message else [])


def test_the_error_of_a_step_whose_failure_is_let_pass_can_be_read() -> None:
    steps = """
        - {id: a, on_error: continue, http: {url: 'https://x.example'}}
        - {id: b, log: "%s"}
    """
    parse_steps(steps % "${{ has(steps.a.error) ? steps.a.error.message : 'fine' }}")
    assert the_problem(steps % "${{ steps.a.error.kind }}").code == "TF1901"
    wrong = the_problem(steps % "${{ has(steps.a.error) ? steps.a.error.mesage : '' }}")
    assert (wrong.code, wrong.message, wrong.hint) == ("TF1202", "an error has no 'mesage'", "did you mean 'message'?")


# --- needs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "code", "message", "hint"),
    [
        ("[fetsh]", "TF1202", "no step 'fetsh'", "did you mean 'fetch'?"),
        ("[me]", "TF1203", "step 'me' cannot need itself", ""),
        ("[below]", "TF1203", "step 'below' is written below this one", "a step needs steps above it; move it up"),
    ],
)
def test_wrong_needs_are_explained(needs: str, code: str, message: str, hint: str) -> None:
    problem = the_problem(f"""
        - {{id: fetch, log: x}}
        - {{id: me, needs: {needs}, log: x}}
        - {{id: below, log: x}}
    """)
    assert (problem.code, problem.message, problem.hint) == (code, message, hint)


def test_a_switch_cannot_need_a_step_inside_it() -> None:
    problem = the_problem("""
        - id: route
          needs: [inside]
          switch:
            - if: true
              steps: [{id: inside, log: x}]
    """)
    assert (problem.code, problem.message) == ("TF1203", "step 'inside' is inside this switch")


def test_a_condition_of_a_switch_cannot_read_a_step_inside_it() -> None:
    problem = the_problem("""
        - id: route
          switch:
            - if: ${{ steps.inside.output == 1 }}
              steps: [{id: inside, transform: {value: 1}}]
    """)
    assert (problem.code, problem.message) == ("TF1203", "step 'inside' runs after 'route'")


# --- inputs, trigger -----------------------------------------------------------------------------


def test_inputs_are_known_by_name() -> None:
    parse_steps("- {id: a, log: '${{ inputs.repo }} ${{ inputs.count }} ${{ inputs }}'}", above=INPUTS)
    problem = the_problem("- {id: a, log: '${{ inputs.rpo }}'}", above=INPUTS)
    assert (problem.code, problem.message, problem.hint) == ("TF1202", "no input 'rpo'", "did you mean 'repo'?")


def test_an_input_in_a_workflow_without_inputs_is_declared_first() -> None:
    problem = the_problem("- {id: a, log: '${{ inputs.repo }}'}")
    assert (problem.message, problem.hint) == ("no input 'repo'", "declare it below inputs")


def test_an_input_that_may_be_missing_is_read_with_a_warning() -> None:
    problem = the_problem("- {id: a, log: '${{ inputs.note }}'}", above=INPUTS)
    assert (problem.code, problem.message) == ("TF1901", "the input 'note' has no default and need not be given")
    parse_steps("- {id: a, log: \"${{ has(inputs.note) ? inputs.note : '-' }}\"}", above=INPUTS)


@pytest.mark.parametrize(
    ("field", "above", "message"),
    [
        ("type", "", None),
        ("body.x", WEBHOOK, None),
        ("headers['x-a']", WEBHOOK, None),
        ("nominal_at", SCHEDULE, None),
        ("body", "", "no webhook starts this workflow, so trigger has no 'body'"),
        ("body", SCHEDULE, "no webhook starts this workflow, so trigger has no 'body'"),
        ("nominal_at", WEBHOOK, "no schedule starts this workflow, so trigger has no 'nominal_at'"),
        ("bdoy", WEBHOOK, "no field of trigger 'bdoy'"),
    ],
)
def test_trigger_has_the_fields_of_the_triggers_there_are(field: str, above: str, message: str | None) -> None:
    found = problems_of(f"- id: a\n  log: ${{{{ trigger.{field} }}}}", above=above)
    assert [problem.message for problem in found] == ([message] if message else [])


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "http",
    [
        "url: 'https://x.example/${{ secrets.A }}'",
        "url: 'https://x.example', headers: {a: '${{ secrets.A }}'}",
        "url: 'https://x.example', query: {a: ['${{ secrets.A }}']}",
        "url: 'https://x.example', json: {a: {b: '${{ secrets.A }}'}}",
        "url: 'https://x.example', form: {a: '${{ secrets.A }}'}",
        "url: 'https://x.example', body: '${{ secrets.A }}'",
        "url: 'https://x.example', auth: {bearer: '${{ secrets.A }}'}",
        "url: 'https://x.example', auth: {basic: {username: u, password: '${{ secrets.A }}'}}",
    ],
)
def test_secrets_are_read_in_requests(http: str) -> None:
    assert parse_steps(f"- {{id: a, http: {{method: POST, {http}}}}}").secrets == ("A",)


@pytest.mark.parametrize(
    "step",
    [
        "log: '${{ secrets.A }}'",
        "log: {message: x, data: '${{ secrets.A }}'}",
        "fail: '${{ secrets.A }}'",
        "transform: {value: '${{ secrets.A }}'}",
        "transform: {jq: ., input: '${{ secrets.A }}'}",
        "log: x, if: \"${{ secrets.A == 'x' }}\"",
        "switch: [{if: \"${{ secrets.A == 'x' }}\", steps: [{id: b, log: x}]}]",
        "http: {url: 'https://x.example'}, if: \"${{ secrets.A == 'x' }}\"",
    ],
)
def test_secrets_are_refused_everywhere_else(step: str) -> None:
    problem = the_problem(f"- {{id: a, {step}}}")
    assert (problem.code, problem.message) == ("TF1204", "a secret is not possible here")


def test_secrets_are_refused_in_the_output() -> None:
    assert the_problem(below="output: ${{ secrets.A }}").code == "TF1204"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("secrets", "a secret is named, not computed"),
        ("secrets[run.id]", "a secret is named, not computed"),
        ("secrets['a b']", "'a b' is not the name of a secret"),
        ("secrets.A.b", "a secret is text; it has no fields"),
    ],
)
def test_a_secret_is_one_name(reference: str, message: str) -> None:
    problem = the_problem(f'- {{id: a, http: {{url: "https://x.example/${{{{ {reference} }}}}"}}}}')
    assert (problem.code, problem.message) == ("TF1204", message)


# --- the output ----------------------------------------------------------------------------------


def test_the_output_may_read_every_step() -> None:
    parse_steps(
        "- {id: a, transform: {value: 1}}\n- {id: b, needs: [], transform: {value: 1}}",
        below="output: {a: '${{ steps.a.output }}', b: '${{ steps.b.output }}'}",
    )


def test_the_output_warns_of_what_may_be_missing() -> None:
    problem = the_problem(
        "- {id: a, if: '${{ run.id == 1 }}', transform: {value: 1}}", below="output: ${{ steps.a.output }}"
    )
    assert problem.code == "TF1901"
