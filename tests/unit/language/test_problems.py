"""What is wrong with a file is said all at once, with the place, the reason and what to write instead."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforge.language.parse import MAX_PROBLEMS, parse_workflow
from taskforge.language.problems import CODES, Problem, Severity, format_path, render
from tests.support.language import problems_of, the_problem, workflow_text


@pytest.mark.parametrize(
    ("steps", "code", "message", "hint"),
    [
        ("- {id: a, lgo: x}", "TF1102", "unknown key 'lgo'", "did you mean 'log'?"),
        ("- {id: a, log: x, timeout-minutes: 5}", "TF1102", "unknown key 'timeout-minutes'", "write timeout: 10m"),
        ("- {id: a, log: x, foreach: []}", "TF1104", "'foreach' is not available yet", ""),
        ("- {id: a, log: x, queue: q}", "TF1104", "'queue' is not available yet", ""),
        ("- {log: x}", "TF1103", "the key 'id' is missing", ""),
        ("- {id: a}", "TF1105", "the step has no action", "add one of: http, transform, switch, log, fail"),
        ("- {id: a, log: x, fail: y}", "TF1105", "a step does one thing, not log and fail", "make two steps of it"),
        ("- {id: A, log: x}", "TF1101", "'A' is not an id: lower-case letters, digits, dashes and", "^[a-z]"),
        ("- {id: output, log: x}", "TF1106", "the id 'output' is reserved", "choose another one"),
        ("- log", "TF1101", "a step is an object with keys, such as `- id: fetch`", ""),
        ("- {id: a, log: 5}", "TF1101", "expected an object with keys, not a number", ""),
        ("- {id: a, log: {message: 5}}", "TF1101", "expected text, not a number", 'quote it: "5"'),
        ("- {id: a, log: {message: 1.10}}", "TF1101", "expected text, not a number", 'quote it: "1.1"'),
        ("- {id: a, log: x, timeout: 30}", "TF1101", "30 has no unit", "write 30s, or 30m …"),
        ("- {id: a, log: x, timeout: 5 min}", "TF1101", "'5 min' is not a duration: write it like 30s, 5m", ""),
        ("- {id: a, log: x, timeout: '${{ inputs.t }}'}", "TF1101", "a duration is fixed: it cannot hold ${{ }}", ""),
        ("- {id: a, log: x, on_error: ignore}", "TF1101", "'ignore' is not possible here", "one of: fail, continue"),
        ("- {id: a, log: x, if: 'run.id == 1'}", "TF1101", "a condition is one expression", "write ${{ run.id == 1 }}"),
        ("- {id: a, log: x, if: '${{ 1 }} ${{ 2 }}'}", "TF1101", "a condition is one expression", ""),
        ("- {id: a, log: x, if: '${{ size(run.id) }}'}", "TF1101", "a condition must be true or false, this is", ""),
        ("- {id: a, log: x, needs: b}", "TF1101", "expected a list, not text", ""),
        ("- {id: a, log: x, labels: {n: 1}}", "TF1101", "expected text, not a number", 'quote it: "1"'),
        ("- {id: a, name: '${{ run.id }}', log: x}", "TF1201", "an expression is not possible here", ""),
        ("- {id: a, log: {message: x, data: {'${{ 1 }}': 2}}}", "TF1201", "an expression is not possible here", ""),
        ("- {id: a, log: '${{ run.id'}", "TF1201", "the expression is not closed with }}", "a # after a space"),
        ("- {id: a, log: '${{ run.id = 1 }}'}", "TF1201", "unexpected '='", "compare with =="),
        ("- {id: a, transform: {value: 1, jq: .}}", "TF1105", "transform needs exactly one of: value, jq", ""),
        ("- {id: a, transform: {}}", "TF1105", "transform needs exactly one of: value, jq", ""),
        ("- {id: a, transform: {value: 1, input: 2}}", "TF1105", "input belongs to jq", ""),
        ("- {id: a, transform: {jq: '{a: '}}", "TF1206", "syntax error, unexpected end of file", ""),
        ("- {id: a, transform: {jq: '.a + ${{ 1 }}'}}", "TF1206", "syntax error, unexpected '{'", "no ${{ }}"),
        ("- {id: a, log: x, retry: {}}", "TF1902", "retry has no effect on log", ""),
        ("- {id: a, log: x, effect: pure}", "TF1902", "effect has no effect on log", ""),
    ],
)  # fmt: skip
def test_a_wrong_step_is_explained(steps: str, code: str, message: str, hint: str) -> None:
    problem = the_problem(steps)
    assert problem.code == code
    assert problem.message.startswith(message)
    assert hint in problem.hint


HTTP = "- id: a\n  http: {method: POST, url: 'https://x.example', %s}"


@pytest.mark.parametrize(
    ("written", "code", "message", "hint"),
    [
        ("methud: GET", "TF1102", "unknown key 'methud'", "did you mean 'method'?"),
        ("paginate: {}", "TF1104", "'paginate' is not available yet", ""),
        ("json: {}, body: x", "TF1105", "a request has one body, not json and body", ""),
        ("auth: {}", "TF1105", "auth needs exactly one of: basic, bearer", ""),
        ("auth: {bearer: t}, headers: {Authorization: x}", "TF1105", "auth and the header authorization exclude", ""),
        ("headers: {a b: x}", "TF1101", "'a b' is not a header name", ""),
        ("headers: {a: [1]}", "TF1101", "expected text, a number or true/false", ""),
        ("expect: {status: [99]}", "TF1101", "99 is not a status", "write 200, or a class such as 2xx"),
        ("max_body: 2MB", "TF1101", "2MB is not between 1 byte and 1MiB", "limited to 1 MiB"),
        ("follow_redirects: 'yes'", "TF1101", "expected true or false, not text", ""),
    ],
)
def test_a_wrong_request_is_explained(written: str, code: str, message: str, hint: str) -> None:
    problem = the_problem(HTTP % written)
    assert problem.code == code
    assert problem.message.startswith(message)
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("http", "message"),
    [
        ("{method: get, url: 'https://x.example'}", "'get' is not possible here"),
        ("{url: 'ftp://x.example'}", "the url must start with http:// or https://"),
        ("{url: 'https://x.example', json: {}}", "a request with json needs its method"),
    ],
)
def test_a_wrong_method_or_url_is_explained(http: str, message: str) -> None:
    assert the_problem(f"- {{id: a, http: {http}}}").message == message


@pytest.mark.parametrize(
    ("retry", "code", "message"),
    [
        ("{on: [conect]}", "TF1101", "'conect' is not a class of errors"),
        ("{on: [200]}", "TF1101", "200 is not a class of errors"),
        ("{on: []}", "TF1101", "this list must not be empty"),
        ("{max_attempts: 0}", "TF1101", "this must be greater than or equal to 1"),
        ("{backoff: quadratic}", "TF1101", "'quadratic' is not possible here"),
    ],
)
def test_a_wrong_retry_is_explained(retry: str, code: str, message: str) -> None:
    problem = the_problem(f"- id: a\n  http: {{url: 'https://x.example'}}\n  retry: {retry}")
    assert (problem.code, problem.message) == (code, message)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("retry: {on: [timeout]}", "at_most_once cannot be retried on timeout: the request may have taken effect"),
        ("on_unknown: retry", "on_unknown: retry contradicts effect: at_most_once"),
    ],
)
def test_at_most_once_is_kept(keys: str, message: str) -> None:
    step = f"- id: a\n  effect: at_most_once\n  http: {{method: POST, url: 'https://x.example'}}\n  {keys}"
    problem = the_problem(step)
    assert (problem.code, problem.message) == ("TF1105", message)


@pytest.mark.parametrize(
    ("branch", "code", "message"),
    [
        ("{steps: [{id: b, log: x}]}", "TF1105", "a branch needs exactly one of: if, else"),
        ("{if: true, else: null, steps: [{id: b, log: x}]}", "TF1105", "a branch needs exactly one of: if, else"),
        ("{if: null, steps: [{id: b, log: x}]}", "TF1101", "a condition is missing after `if`"),
        ("{if: true}", "TF1103", "the key 'steps' is missing"),
        ("{if: true, steps: []}", "TF1101", "this list must not be empty"),
        ("{if: true, steps: [{id: a, log: x}]}", "TF1106", "the id 'a' is used twice; it is on line 3 already"),
    ],
)
def test_a_wrong_branch_is_explained(branch: str, code: str, message: str) -> None:
    problem = the_problem(f"- id: a\n  switch:\n    - {branch}")
    assert (problem.code, problem.message) == (code, message)


def test_else_comes_last() -> None:
    problem = the_problem("""
        - id: a
          switch:
            - else:
              steps: [{id: b, log: x}]
            - if: ${{ true }}
              steps: [{id: c, log: x}]
    """)
    assert (problem.code, problem.message) == ("TF1105", "`else` must be the last branch")


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("[]", "TF1101", "a workflow is an object with keys"),
        ("name: x", "TF1103", "the key 'steps' is missing"),
        ("name: x\nsteps: []", "TF1101", "this list must not be empty"),
        ("name: x\nsteps: {}", "TF1101", "expected a list, not an object"),
        ("name: X Y\nsteps: [{id: a, log: x}]", "TF1101", "'X Y' is not a workflow name"),
        ("name: x\njobs: 1\nsteps: [{id: a, log: x}]", "TF1102", "unknown key 'jobs'"),
        ("name: x\nconcurrency: 1\nsteps: [{id: a, log: x}]", "TF1104", "'concurrency' is not available yet"),
        ("name: x\nfinally: []\nsteps: [{id: a, log: x}]", "TF1104", "'finally' is not available yet"),
        ("name: x\nname: y\nsteps: [{id: a, log: x}]", "TF1002", "the key 'name' is written twice"),
        ("name: x\ndescription: '${{ 1 }}'\nsteps: [{id: a, log: x}]", "TF1201", "an expression is not possible here"),
        ("name: x\n  steps: y: z", "TF1001", "the file is not valid YAML"),
    ],
)
def test_a_wrong_file_is_explained(source: str, code: str, message: str) -> None:
    parsed = parse_workflow(source)
    assert parsed.workflow is None
    assert [problem.code for problem in parsed.problems] == [code]
    assert parsed.problems[0].message.startswith(message)


MANY = """\
name: Many Faults
descripton: x
inputs:
  repo: {type: strin}
triggers:
  - id: nightly
    cron: "61 * * * *"
    timezone: Europe/Pariss
timeout: 30
steps:
  - id: fetch
    htpp: {url: x}
  - id: load
    nedds: [fetch]
    log: ${{ steps.fecth.output }}
  - id: load
    log: ${{ secrets.TOKEN }}
  - id: shape
    transform: {jq: '{a: '}
  - id: last
    needs: []
    log: ${{ steps.shape.output = inputs.rpo }} ${{ inputs.rpo }}
output: ${{ steps.nope.output }}
"""


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    found = [(problem.line, problem.column, problem.code) for problem in parse_workflow(MANY).problems]
    assert found == [
        (1, 7, "TF1101"),
        (2, 1, "TF1102"),
        (4, 16, "TF1304"),
        (6, 5, "TF1303"),
        (7, 11, "TF1301"),
        (8, 15, "TF1302"),
        (9, 10, "TF1101"),
        (12, 5, "TF1102"),
        (14, 5, "TF1102"),
        (15, 14, "TF1202"),
        (16, 9, "TF1106"),
        (17, 14, "TF1204"),
        (19, 25, "TF1206"),
        (22, 33, "TF1201"),
        (22, 53, "TF1202"),
        (23, 13, "TF1202"),
    ]


def test_problems_end_at_a_limit() -> None:
    steps = "\n".join(f"- {{id: s{n}, lgo: x}}" for n in range(200))
    assert len(problems_of(steps)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("value", "line", "column"),
    [
        ('log: "x ${{ foo }}"', 4, 17),
        ("log: 'x ${{ foo }}'", 4, 17),
        ("log: x ${{ foo }}", 4, 16),
        ("log: |\n      line\n      ${{ foo }}", 6, 11),
        ("log: >\n      folded\n      text ${{ foo }}", 6, 16),
        ('log: "日本 ${{ foo }}"', 4, 18),
        ('log: "a\\tb ${{ foo }}"', 4, 20),
        ("log: ${{\n      run.id == foo\n      }}", 5, 17),
    ],
)
def test_an_expression_is_found_in_every_style_of_yaml(value: str, line: int, column: int) -> None:
    source = f"name: example\nsteps:\n  - id: a\n    {value}\n"
    problems = parse_workflow(source).problems
    found = [(problem.code, problem.line, problem.column) for problem in problems]
    assert found == [("TF1202", line, column)]


def test_a_problem_is_shown_with_its_lines_and_a_marker() -> None:
    source = workflow_text("- id: a\n  nedds: [b]\n  log: x")
    problem = parse_workflow(source).problems[0]
    assert render(problem, source, "jobs/a.yaml") == dedent("""\
        error[TF1102]: unknown key 'nedds'
          --> jobs/a.yaml:4:5
        3 |   - id: a
        4 |     nedds: [b]
          |     ^^^^^
          = help: did you mean 'needs'?""")


def test_a_marker_stays_below_its_place_after_tabs() -> None:
    problem = Problem(code="TF1001", message="m", line=1, column=3, end_column=4)
    assert render(problem, "a\tb").splitlines()[-1] == "  |  \t^"


def test_a_problem_beyond_the_end_is_shown_without_lines() -> None:
    problem = Problem(code="TF1001", message="m", line=9, column=1)
    assert render(problem, "a\n") == "error[TF1001]: m\n  --> 9:1"


def test_paths_are_written_as_people_do() -> None:
    assert format_path(("steps", 2, "http", "url")) == "steps[2].http.url"


def test_every_reported_code_is_in_the_table() -> None:
    codes = {problem.code for problem in parse_workflow(MANY).problems}
    assert codes <= set(CODES)


def test_a_warning_does_not_stop_a_workflow() -> None:
    parsed = parse_workflow(workflow_text("- {id: a, log: x, retry: {}}"))
    assert parsed.workflow is not None
    assert [problem.severity for problem in parsed.problems] == [Severity.WARNING]
    assert parsed.errors == ()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_compiled_or_explained_and_never_raises(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(MANY)))
    length = data.draw(st.integers(0, 30))
    put = data.draw(
        st.sampled_from(["", " ", "\n", "{", "}", "[", "- ", ": ", "${{", "}}", "null", "1", '"', "&a ", "*a"])
    )
    parsed = parse_workflow(MANY[:start] + put + MANY[start + length :])
    assert (parsed.workflow is None) == bool(parsed.errors)
    assert all(problem.code in CODES and problem.line >= 1 and problem.column >= 1 for problem in parsed.problems)
