"""What Postgres would refuse at commit time is refused here, by name and place."""

from __future__ import annotations

import enum
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforge.domain.json_values import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_PROBLEMS,
    JsonLimits,
    check_json,
    encode,
    encode_checked,
)
from taskforge.domain.workflow import JsonValue

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Colour(enum.StrEnum):
    RED = "red"


def nested(depth: int) -> JsonValue:
    value: JsonValue = []
    for _ in range(depth - 1):
        value = [value]
    return value


def problems(value: JsonValue, limits: JsonLimits | None = None) -> list[str]:
    return [str(problem) for problem in check_json(value, limits or JsonLimits()) or []]


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, "", "text", [], {}, {"a": [1, {"b": "\\u0000"}]}, "\ufffd\U0001f600", 10**400]
)
def test_plain_json_is_accepted(value: JsonValue) -> None:
    assert check_json(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "nan is not a JSON number"),
        ([math.inf], "/0: inf is not a JSON number"),
        ({"a": {"b/c~d": -math.inf}}, "/a/b~1c~0d: -inf is not a JSON number"),
        ("a\0b", "the string holds a NUL character"),
        (["\ud800"], "/0: the string holds a lone surrogate"),
        ({"\0": 1}, r"key '\x00': the string holds a NUL character"),
        ({"\udfff": 1}, r"key '\udfff': the string holds a lone surrogate"),
        ({1: 2}, "key 1: int is not a valid key"),
        ((1,), "tuple is not a JSON type"),
        ([b"x"], "/0: bytes is not a JSON type"),
        ({"a": {1, 2}}, "/a: set is not a JSON type"),
        ([Colour.RED], "/0: Colour is not a JSON type"),
        ([10**5000], "/0: the integer has too many digits"),
        ([object()], "/0: object is not a JSON type"),
    ],
)
def test_what_cannot_be_stored_is_named(value: JsonValue, expected: str) -> None:
    assert problems(value) == [expected]


def test_depth_is_limited_on_both_sides() -> None:
    assert check_json(nested(MAX_DEPTH)) is None
    assert problems(nested(MAX_DEPTH + 1)) == ["/0" * MAX_DEPTH + f": nested deeper than {MAX_DEPTH} levels"]
    assert problems(nested(7000))[0].endswith(f"nested deeper than {MAX_DEPTH} levels")


def test_size_is_limited_on_both_sides() -> None:
    assert check_json("x" * (MAX_BYTES - 2)) is None
    assert problems("x" * (MAX_BYTES - 1)) == [f"the value is larger than {MAX_BYTES} bytes of JSON"]
    assert problems("é" * (MAX_BYTES // 2)) == [f"the value is larger than {MAX_BYTES} bytes of JSON"]
    assert problems([1, 2, 3], JsonLimits(max_bytes=6)) == ["the value is larger than 6 bytes of JSON"]


def test_cycles_and_shared_subtrees_end_quickly() -> None:
    cycle: list[JsonValue] = []
    cycle.append(cycle)
    branching: list[JsonValue] = []
    branching.extend([branching, branching])
    wide = [0] * 1_000_000
    for value in (cycle, branching, {"a": cycle}, [wide] * 1_000_000, [branching, {1: 2}]):
        assert check_json(value)


def test_many_problems_are_cut_short() -> None:
    assert len(problems([math.nan] * 1000)) == MAX_PROBLEMS
    assert len(problems({f"\0{index}": 1 for index in range(1000)})) == MAX_PROBLEMS


def test_problems_come_in_the_order_of_the_value() -> None:
    assert [text.split(":")[0] for text in problems([math.nan, {"a": math.nan}, [math.nan]])] == ["/0", "/1/a", "/2/0"]


@given(TREES)
def test_a_checked_value_survives_encoding(tree: JsonValue) -> None:
    found = check_json(tree)
    encoded = encode_checked(tree)
    if found is None:
        assert isinstance(encoded, bytes)
        assert json.loads(encoded) == tree
        assert json.loads(encode(tree)) == tree
    else:
        assert encoded == found


@given(st.dictionaries(st.text("abc"), st.integers()))
def test_equal_values_have_one_canonical_form(value: dict[str, int]) -> None:
    assert encode(value) == encode(dict(reversed(value.items())))


def test_the_canonical_form_is_compact_utf8() -> None:
    assert encode({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()
