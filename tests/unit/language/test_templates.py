"""Templates: one whole expression keeps its type, text is joined, and nothing is read twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.language.cel import ExpressionError
from taskforge.language.templates import compile_template

CONTEXT: dict[str, Any] = {
    "inputs": {"n": 3, "s": "text", "o": {"k": [1, None]}, "t": True, "f": 2.0, "z": None, "evil": "${{ inputs.n }}"}
}


def render(value: Any) -> Any:
    return compile_template(value).evaluate(CONTEXT)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${{ inputs.n }}", 3),
        ("${{ inputs.o }}", {"k": [1, None]}),
        ("n=${{ inputs.n }}", "n=3"),
        ("${{ inputs.s }}${{ inputs.s }}", "texttext"),
        (" ${{ inputs.n }}", " 3"),
        ("${{ inputs.o }}!", '{"k":[1,null]}!'),
        ("${{ inputs.t }} ${{ inputs.z }} ${{ inputs.f }}", "true null 2.0"),
        ("plain", "plain"),
        ({"a": ["${{ inputs.n }}", 1], "b": {"c": "x${{ inputs.n }}"}}, {"a": [3, 1], "b": {"c": "x3"}}),
        (5, 5),
        (None, None),
        ([], []),
    ],
)
def test_values_are_rendered(template: Any, value: Any) -> None:
    assert render(template) == value


def test_results_are_never_read_as_templates_again() -> None:
    assert render("${{ inputs.evil }}") == "${{ inputs.n }}"
    assert render("a ${{ inputs.evil }}") == "a ${{ inputs.n }}"


def test_an_error_names_its_expression() -> None:
    with pytest.raises(ExpressionError, match=r"^\$\{\{ inputs\.missing \}\}: the input 'missing' was not given"):
        render({"a": "${{ inputs.n }}", "b": "x ${{ inputs.missing }}"})


def test_results_from_elsewhere_take_the_place_of_an_evaluation() -> None:
    template = compile_template({"a": "${{ inputs.l.map(x, x) }}", "b": "${{ inputs.n }} ${{ inputs.l.map(x, x) }}"})
    assert not template.is_cheap
    costly = template.costly(CONTEXT)
    assert [expression.source for expression in costly] == ["inputs.l.map(x, x)"]
    assert template.evaluate(CONTEXT, {"inputs.l.map(x, x)": [9]}) == {"a": [9], "b": "3 [9]"}


def test_a_template_without_costly_parts_is_cheap() -> None:
    template = compile_template({"a": "${{ inputs.n == 3 }}", "b": [1, "x"]})
    assert template.is_cheap
    assert template.costly(CONTEXT) == ()


def test_what_holds_no_expression_is_not_copied() -> None:
    template = compile_template({"fixed": {"a": [1]}, "open": "${{ inputs.n }}"})
    assert template.evaluate(CONTEXT)["fixed"] is template.evaluate(CONTEXT)["fixed"]


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text().filter(lambda text: "${{" not in text),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=12,
)


@given(plain_json)
def test_json_without_expressions_renders_to_itself(value: Any) -> None:
    assert compile_template(value).evaluate({}) == value
