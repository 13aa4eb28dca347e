"""What is wrong with many files, within the size of one error."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from taskforge.domain.errors import FieldViolation
from taskforge.gateway.problem_report import Finding, workflow_invalid
from taskforge.gateway.violations import fitting
from taskforge.language.problems import Problem
from taskforge.runtime.errors import to_status

_CLIENT_BYTES = 8192 - 600  # what a client takes by default, less other trailers and the message that comes twice


def finding(index: int = 0, **fields: object) -> Finding:
    values = {"code": "TF1102", "message": f"unknown key 'k{index}'", "line": index + 1, "column": 3, **fields}
    return Finding(source=index % 3, filename=f"{index % 3}.yaml", problem=Problem(**values))  # type: ignore[arg-type]


def test_a_problem_can_be_made_again_from_the_report() -> None:
    problem = finding(4, hint="did you mean 'key'?", path="steps[0].k4", end_column=9).problem
    error = workflow_invalid([Finding(source=1, filename="a.yaml", problem=problem)])
    [document] = json.loads(error.metadata["problems"])
    assert document.pop("source") == 1
    assert Problem(**document) == problem
    [violation] = error.violations
    assert violation.field == "a.yaml:5:3"
    assert violation.description == "TF1102: unknown key 'k4' (did you mean 'key'?)"


def test_a_file_without_a_name_is_named_by_its_place() -> None:
    unnamed = Finding(source=2, filename="", problem=Problem(code="TF1001", message="no"))
    assert unnamed.place == "sources[2]:1:1"


def test_the_message_counts_and_shows_the_first() -> None:
    error = workflow_invalid([finding(0), finding(1)])
    assert error.message == "2 faults in 2 files; the first is at 0.yaml:1:3: TF1102: unknown key 'k0'"


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=200))
def test_no_report_is_larger_than_a_client_takes(lengths: list[int]) -> None:
    findings = [finding(index, message="ä" * length) for index, length in enumerate(lengths)]
    error = workflow_invalid(findings)
    assert error.metadata["problem_count"] == str(len(findings))
    shown = len(json.loads(error.metadata["problems"]))
    left_out = len(findings) - shown
    assert len(error.violations) == shown + (left_out > 0)
    assert left_out == 0 or error.violations[-1].description == f"and {left_out} more"
    status = to_status(error)
    assert status.ByteSize() + len(error.message.encode()) < _CLIENT_BYTES


@given(st.lists(st.tuples(st.text(max_size=600), st.text(max_size=600)), max_size=100))
def test_no_list_of_violations_is_larger_than_its_budget(pairs: list[tuple[str, str]]) -> None:
    shown = fitting([FieldViolation(field=field, description=text) for field, text in pairs])
    assert sum(len(one.field.encode()) + len(one.description.encode()) for one in shown) < 5_600
    assert len(shown) <= 51
