"""YAML becomes plain values with places, within limits, and by the rules of YAML 1.2."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.language.problems import Problem
from taskforge.language.yaml_tree import MAX_BYTES, Tree, YamlError, read_yaml


def tree_of(source: str) -> Tree:
    problems: list[Problem] = []
    tree = read_yaml(source, problems)
    assert problems == []
    return tree


def refusal(source: str) -> Problem:
    with pytest.raises(YamlError) as caught:
        read_yaml(source, [])
    return caught.value.problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("false", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("null", None),
        ("~", None),
        ("", None),
        ("''", ""),
        ("12", 12),
        ("-3", -3),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ('"12"', "12"),
        ("!!str 12", "12"),
        ("1.2.3", "1.2.3"),
        ("9" * 30, int("9" * 30)),
    ],
)
def test_scalars_are_those_of_the_yaml_1_2_core_schema(text: str, value: object) -> None:
    found = tree_of(f"a: {text}").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_text() -> None:
    assert tree_of("{on: 1, 200: 2, true: 3, null: 4}").value == {"on": 1, "200": 2, "true": 3, "null": 4}


def test_every_node_has_its_place() -> None:
    tree = tree_of("a: 1\nb:\n  - c: [x, yy]\n")
    place = tree.span(("b", 0, "c", 1))
    assert (place.line, place.column, place.end_column) == (3, 12, 14)
    key = tree.span(("b", 0, "c"), key=True)
    assert (key.line, key.column) == (3, 5)


def test_a_path_that_does_not_exist_is_placed_at_what_does() -> None:
    assert tree_of("a:\n  b: 1\n").span(("a", "b", "zzz")).line == 2


def test_duplicate_keys_are_reported_with_both_lines_and_the_first_one_counts() -> None:
    problems: list[Problem] = []
    tree = read_yaml("a: 1\nb: 2\na: 3\n", problems)
    assert [(p.code, p.line, p.message) for p in problems] == [
        ("TF1002", 3, "the key 'a' is written twice; it is on line 1 already")
    ]
    assert tree.value == {"a": 1, "b": 2}


def test_aliases_are_followed() -> None:
    assert tree_of("a: &x [1]\nb: *x\n").value == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("", "TF1001", "the file is empty"),
        ("# nothing\n", "TF1001", "the file is empty"),
        ("a: [1, 2", "TF1001", "did not find expected ',' or ']'"),
        ("a: 'x", "TF1001", "unexpected end of stream"),
        ("a: \x01", "TF1001", "control characters"),
        ("a: \0", "TF1001", "characters that are not text"),
        ("a: \ud800", "TF1001", "characters that are not text"),
        ("b: *x", "TF1001", "no anchor &x"),
        ("a: 1\n---\nb: 2\n", "TF1004", "a second document starts here"),
        ("<<: {a: 1}", "TF1004", "merge keys"),
        ("? [a]\n: 1", "TF1004", "a key must be plain text"),
        ("a: " + "x" * MAX_BYTES, "TF1003", "bytes"),
    ],
)
def test_what_is_not_one_plain_document_is_refused(source: str, code: str, words: str) -> None:
    problem = refusal(source)
    assert problem.code == code
    assert words in problem.message


def test_tags_are_refused_but_the_rest_is_read() -> None:
    problems: list[Problem] = []
    tree = read_yaml("a: !secret x\nb: 1\n", problems)
    assert [problem.code for problem in problems] == ["TF1004"]
    assert tree.value["b"] == 1


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999"])
def test_numbers_that_json_cannot_hold_are_refused(text: str) -> None:
    problems: list[Problem] = []
    read_yaml(f"a: {text}", problems)
    assert [problem.code for problem in problems] == ["TF1101"]


def test_unquoted_expressions_in_flow_style_get_a_hint() -> None:
    assert "quotes" in refusal("http: {url: ${{ inputs.x }}}").hint


def test_tabs_get_a_hint() -> None:
    assert "spaces" in refusal("a:\n\tb: 1\n").hint


BOMB = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    + [f"{name}: &{name} [{','.join(['*' + above] * 10)}]" for above, name in zip("abcdefg", "bcdefgh", strict=True)]
)


@pytest.mark.parametrize(
    "source",
    ["[" * 20_000, "{" * 20_000, "- " * 20_000, "? " * 20_000, "[a: " * 10_000, BOMB, "a: [" + "x," * 100_000],
    ids=["brackets", "braces", "dashes", "questions", "pairs", "aliases", "many"],
)
def test_hostile_files_are_refused_at_once(source: str) -> None:
    started = time.process_time()
    refusal(source)
    assert time.process_time() - started < 1.0


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(source: str) -> None:
    with suppress(YamlError):
        assert read_yaml(source, []).root.size >= 1
