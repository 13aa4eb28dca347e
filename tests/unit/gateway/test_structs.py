"""JSON and protobuf's types that stand for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforge.gateway.structs import json_from_struct, struct_from, value_from, value_from_text
from taskforge.v1 import run_pb2, run_service_pb2

_SAFE_INTEGERS = st.integers(min_value=-(2**53), max_value=2**53)
_SCALARS = st.none() | st.booleans() | _SAFE_INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_DOCUMENTS = st.dictionaries(
    st.text(),
    st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8),
    max_size=4,
)


def nested(levels: int, kind: type) -> Any:
    document: Any = 1
    for _ in range(levels):
        document = {"in": document} if kind is dict else [document]
    return document


@settings(max_examples=50)
@given(_DOCUMENTS)
def test_what_protobuf_can_hold_survives_the_wire(document: dict[str, Any]) -> None:
    raw = struct_from(document).SerializeToString()
    assert json_from_struct(Struct.FromString(raw)) == document


def test_kinds_are_kept_apart() -> None:
    document: list[Any] = [None, False, 0, "", [], {}]
    kinds = [item.WhichOneof("kind") for item in value_from(document).list_value.values]
    assert kinds == ["null_value", "bool_value", "number_value", "string_value", "list_value", "struct_value"]


def test_a_number_without_a_fraction_comes_in_as_an_integer() -> None:
    struct = Struct()
    struct.update({"a": 5.0, "b": 5.5, "c": -0.0, "d": 1e300})
    document = json_from_struct(struct)
    assert document == {"a": 5, "b": 5.5, "c": 0, "d": 1e300}
    assert [type(document[name]) for name in "abcd"] == [int, float, int, float]


def test_integers_that_are_too_large_lose_digits_or_become_text() -> None:
    assert value_from(2**53 + 1).number_value == 2**53
    assert value_from(10**400).string_value == str(10**400)


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("levels", [1, 25, 64])
def test_any_depth_fits_into_every_message(kind: type, levels: int) -> None:
    value = value_from(nested(levels, kind))
    error = run_pb2.StepError(details=value)
    step = run_pb2.Step(output=value, attempts=[run_pb2.Attempt(error=error)])
    answer = run_service_pb2.WatchRunResponse(run=run_pb2.Run(output=value, steps=[step]))
    assert run_service_pb2.WatchRunResponse.FromString(answer.SerializeToString()) == answer


@pytest.mark.parametrize("kind", [dict, list])
def test_what_lies_too_deep_becomes_its_json_text(kind: type) -> None:
    value = value_from(nested(64, kind))
    levels = 0
    while value.WhichOneof("kind") != "string_value":
        value = value.struct_value.fields["in"] if kind is dict else value.list_value.values[0]
        levels += 1
    assert levels >= 25
    assert json.loads(value.string_value) == nested(64 - levels, kind)


def test_no_text_is_no_value() -> None:
    assert value_from_text(None) is None
    null = value_from_text("null")
    assert null is not None
    assert null.WhichOneof("kind") == "null_value"
