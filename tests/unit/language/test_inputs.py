"""Inputs: declared as JSON Schema, checked and completed before a run exists."""

from __future__ import annotations

from typing import Any

import pytest

from taskforge.domain.workflow import Workflow
from taskforge.language.inputs import check_inputs
from tests.support.language import parse_steps, the_problem

STEP = "- {id: a, log: x}"


def workflow(inputs: str) -> Workflow:
    return parse_steps(STEP, above=f"inputs: {{{inputs}}}")


def messages(inputs: str, given: dict[str, Any]) -> list[str]:
    return [violation.message for violation in check_inputs(workflow(inputs), given).violations]


def test_defaults_are_filled_in() -> None:
    checked = check_inputs(workflow("a: {type: string, default: x}, b: {type: integer}"), {"b": 2})
    assert (checked.values, checked.violations) == ({"a": "x", "b": 2}, ())


def test_a_given_value_replaces_the_default() -> None:
    assert check_inputs(workflow("a: {default: x}"), {"a": None}).values == {"a": None}


def test_an_optional_input_stays_away() -> None:
    checked = check_inputs(workflow("a: {type: string, required: false}"), {})
    assert (checked.values, checked.violations) == ({}, ())


def test_a_default_is_not_shared_between_runs() -> None:
    shared = workflow("a: {default: [1]}")
    check_inputs(shared, {}).values["a"].append(2)
    assert check_inputs(shared, {}).values == {"a": [1]}


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        ("a: {type: string}", {}, "the input 'a' is missing"),
        ("a: {type: string}", {"a": 5}, "the input 'a' must be text, not a number (5)"),
        ("a: {type: integer}", {"a": "5"}, "the input 'a' must be a whole number, not text (\"5\")"),
        ("a: {type: number}", {"a": None}, "the input 'a' must be a number, not null"),
        ("a: {type: boolean}", {"a": []}, "the input 'a' must be true or false, not a list"),
        ("a: {type: [string, 'null']}", {"a": 1}, "the input 'a' must be null or text, not a number (1)"),
        ("a: {enum: [x, y]}", {"a": "z"}, 'the input \'a\' must be one of "x", "y", not "z"'),
        ("a: {minimum: 3}", {"a": 1}, "the input 'a' must be at least 3, not 1"),
        ("a: {maximum: 3}", {"a": 5}, "the input 'a' must be at most 3, not 5"),
        ("a: {pattern: '^x$'}", {"a": "y"}, "the input 'a' must match the pattern ^x$; \"y\" does not"),
        ("a: {format: date}", {"a": "y"}, "the input 'a' must have the format date; \"y\" does not"),
        ("a: {const: 1}", {"a": 2}, "the input 'a' must be 1, not 2"),
        ("a: {type: object, required: [k]}", {"a": {}}, "the input 'a' needs the property \"k\""),
        (
            "a: {type: array, items: {type: object, properties: {k: {type: string}}}}",
            {"a": [{}, {"k": 1}]},
            "the input 'a' at [1].k must be text, not a number (1)",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(inputs: str, given: dict[str, Any], message: str) -> None:
    assert messages(inputs, given) == [message]


def test_unknown_inputs_are_refused_with_the_one_that_was_meant() -> None:
    violations = check_inputs(workflow("repo: {type: string, default: x}"), {"rpo": "y"}).violations
    assert [(v.name, v.message, v.hint) for v in violations] == [
        ("rpo", "workflow 'example' has no input 'rpo'", "did you mean 'repo'?")
    ]


def test_all_violations_are_found() -> None:
    assert len(messages("a: {type: string}, b: {type: integer}, c: {type: string}", {"a": 1, "b": "x", "d": 1})) == 4


def test_long_values_are_cut_in_messages() -> None:
    assert len(messages("a: {type: integer}", {"a": "x" * 10_000})[0]) < 200


def test_patterns_cannot_be_made_to_hang() -> None:
    assert messages("a: {pattern: '^(a+)+$'}", {"a": "a" * 50_000 + "b"}) != []


# --- declarations --------------------------------------------------------------------------------


def test_required_and_default_are_what_they_seem() -> None:
    declared = workflow(
        "a: {type: string}, b: {type: string, required: false}, c: {type: string, default: x},"
        " d: {type: string, default: x, required: true}, e: {type: object, required: [k]}"
    )
    assert declared.required_inputs == ("a", "e")
    assert declared.inputs["a"] == {"type": "string"}
    assert declared.inputs["e"] == {"type": "object", "required": ["k"]}


@pytest.mark.parametrize(
    ("inputs", "message", "hint"),
    [
        ("a: string", "an input is described by a JSON Schema", "write a: {type: string}"),
        ("a-b: {}", "'a-b' is not a name of an input", "it must match"),
        ("a: {type: strin}", "'strin' is not a type", "did you mean 'string'?"),
        ("a: {typ: string}", "'typ' is not a keyword of JSON Schema", "did you mean 'type'?"),
        ("a: {minlength: 3}", "'minlength' is not a keyword of JSON Schema", "did you mean 'minLength'?"),
        ("a: {properties: {b: {tpye: string}}}", "'tpye' is not a keyword of JSON Schema", "did you mean 'type'?"),
        ("a: {$ref: 'https://x.example/s.json'}", "$ref is not supported", "write the schema out"),
        ("a: {items: {$ref: '#/x'}}", "$ref is not supported", "write the schema out"),
        ("a: {minimum: x}", '"x" is not of type "number"', ""),
        ("a: {pattern: '('}", '"(" is not a "regex"', ""),
        ("a: {type: integer, default: x}", 'the default must be a whole number, not text ("x")', ""),
        ("a: {default: '${{ run.id }}'}", "a default is fixed: it cannot hold ${{ }}", ""),
        ("a: {type: string, required: 'yes'}", "expected true or false", ""),
    ],
)
def test_a_wrong_declaration_is_explained(inputs: str, message: str, hint: str) -> None:
    problem = the_problem(STEP, above=f"inputs: {{{inputs}}}")
    assert (problem.code, problem.message) == ("TF1304", message)
    assert hint in problem.hint
