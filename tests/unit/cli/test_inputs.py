from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskforge_cli.errors import CliError
from taskforge_cli.inputs import check_exact, pairs, read_input_file, typed_inputs

DECLARED: dict[str, Any] = {
    "name": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "flag": {"type": "boolean"},
    "tags": {"type": "array"},
    "maybe": {"type": ["string", "null"]},
    "any": {},
}


def typed(**given: str) -> dict[str, Any]:
    return typed_inputs(given, DECLARED, "hello")


def test_a_string_stays_as_it_was_written() -> None:
    assert typed(name="3", maybe="null") == {"name": "3", "maybe": "null"}


def test_other_types_are_json() -> None:
    found = typed(count="3", ratio="2.5", flag="true", tags='["a", 1]')
    assert found == {"count": 3, "ratio": 2.5, "flag": True, "tags": ["a", 1]}


def test_without_a_type_json_is_tried_first() -> None:
    assert typed(any="[1]") == {"any": [1]}
    assert typed(any="plain") == {"any": "plain"}


def test_a_value_that_is_no_json_says_how_to_write_it() -> None:
    with pytest.raises(CliError) as caught:
        typed(count="abc")
    assert caught.value.code == "INPUT_SYNTAX"
    assert caught.value.message == "input count is an integer, and 'abc' is none"
    assert caught.value.hints == ("write it as JSON: -i count=3",)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_has_not_are_refused(text: str) -> None:
    with pytest.raises(CliError):
        typed(ratio=text)


def test_an_unknown_input_says_what_was_meant() -> None:
    with pytest.raises(CliError) as caught:
        typed(cuont="3")
    assert caught.value.code == "INPUT_UNKNOWN"
    assert caught.value.hints[0] == "did you mean 'count'?"


def test_pairs_keep_every_sign_of_the_value() -> None:
    assert pairs(["a=b=c", "empty="], "-i") == {"a": "b=c", "empty": ""}


@pytest.mark.parametrize("texts", [["novalue"], ["=x"], ["a=1", "a=2"]])
def test_what_is_no_pair_is_refused(texts: list[str]) -> None:
    with pytest.raises(CliError) as caught:
        pairs(texts, "-i")
    assert caught.value.code == "INPUT_SYNTAX"


def test_numbers_that_would_not_arrive_unchanged_are_refused() -> None:
    check_exact({"a": [2**53]}, "id")
    with pytest.raises(CliError):
        check_exact({"a": [2**53 + 1]}, "id")


@pytest.mark.parametrize("text", ['{"a": 1}', "a: 1\n"])
def test_an_input_file_is_json_or_yaml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "inputs"
    path.write_text(text)
    assert read_input_file(str(path)) == {"a": 1}


def test_an_input_file_without_an_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inputs"
    path.write_text("[1, 2]")
    with pytest.raises(CliError) as caught:
        read_input_file(str(path))
    assert caught.value.code == "INPUT_SYNTAX"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(CliError, match="nowhere: No such file") as caught:
        read_input_file("nowhere")
    assert caught.value.code == "FILE_UNREADABLE"
