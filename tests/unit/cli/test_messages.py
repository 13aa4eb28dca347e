from __future__ import annotations

import json

from google.protobuf import struct_pb2

from taskforge.v1.run_pb2 import Cause, Run
from taskforge.v1.schedule_service_pb2 import Tick
from taskforge.v1.webhook_service_pb2 import Delivery
from taskforge_cli.messages import enum_name, last_part, state_of, to_plain
from tests.unit.cli.messages_of_runs import RUN_ID, run, stamp, step


def test_states_lose_their_prefix_and_times_are_utc() -> None:
    plain = to_plain(run(state="SUCCEEDED", end_time=stamp(0.25)))
    assert plain["state"] == "SUCCEEDED"
    assert plain["create_time"] == "2026-03-01T12:00:00Z"
    assert plain["end_time"] == "2026-03-01T12:00:00.250Z"


def test_every_field_is_there_and_what_is_not_set_is_null_or_empty() -> None:
    plain = to_plain(Run())
    assert set(plain) == {field.name for field in Run.DESCRIPTOR.fields}
    assert plain["output"] is None
    assert plain["steps"] == []
    assert plain["labels"] == {}
    assert plain["sequence"] == 0


def test_large_numbers_stay_numbers() -> None:
    assert to_plain(run(sequence=2**40))["sequence"] == 2**40


def test_values_are_what_they_were() -> None:
    content = {"n": 3, "half": 1.5, "text": "é", "none": None, "list": [True, {"x": []}]}
    value = step("a", output=content).output
    assert to_plain(value) == content
    assert json.loads(json.dumps(to_plain(value)))["n"] == 3


def test_numbers_that_json_has_not_are_null() -> None:
    assert to_plain(struct_pb2.Value(number_value=float("inf"))) is None


def test_nested_enums_are_named_without_their_prefix() -> None:
    assert to_plain(Cause(kind=Cause.KIND_WEBHOOK))["kind"] == "WEBHOOK"
    assert to_plain(Tick(outcome=Tick.OUTCOME_SKIPPED_OVERLAP))["outcome"] == "SKIPPED_OVERLAP"
    assert state_of(Delivery(verdict=Delivery.VERDICT_BAD_SIGNATURE), "verdict") == "BAD_SIGNATURE"


def test_a_state_that_this_version_does_not_know_is_shown_as_its_number() -> None:
    assert enum_name(Run.State.DESCRIPTOR, 99) == "99"


def test_the_id_is_the_last_part_of_a_name() -> None:
    assert last_part(f"runs/{RUN_ID}") == RUN_ID
    assert last_part("hello") == "hello"
