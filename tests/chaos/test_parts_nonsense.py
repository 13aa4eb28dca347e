"""Nonsense by chance is the same for the same seed, and differs from what it was made of."""

from __future__ import annotations

import random

from taskforge.v1.run_service_pb2 import ListRunsRequest, StartRunRequest
from taskforge.v1.workflow_service_pb2 import ApplyWorkflowsRequest
from tests.chaos.parts.messages import Messages
from tests.chaos.parts.mutation import Mutator

_GOOD = "name: x\nsteps:\n  - {id: a, log: hello}\n"


def test_a_seed_repeats_its_texts() -> None:
    first, second = ([Mutator(random.Random(7)).text(_GOOD) for _ in range(1)] for _ in range(2))
    assert first == second


def test_most_texts_are_changed_and_all_can_be_sent() -> None:
    mutator = Mutator(random.Random(1), ("steps:",))
    texts = [mutator.text(_GOOD) for _ in range(300)]
    assert sum(text != _GOOD for text in texts) > 250
    assert all(text.encode("utf-8") is not None for text in texts)


def test_bytes_are_changed() -> None:
    mutator = Mutator(random.Random(1))
    assert sum(mutator.data(b"\x08\x01\x12\x02ab") != b"\x08\x01\x12\x02ab" for _ in range(300)) > 250


def test_messages_hold_missing_odd_and_known_values() -> None:
    messages = Messages(random.Random(2), ["workflows/known"])
    made = [messages.of(StartRunRequest.DESCRIPTOR) for _ in range(200)]
    names = {message.workflow for message in made}
    assert {"", "workflows/known"} <= names
    assert any(len(name) >= 100_000 for name in names)
    assert any(message.HasField("inputs") for message in made)


def test_messages_of_other_types_can_be_made_and_packed() -> None:
    messages = Messages(random.Random(3), [])
    for kind in (ListRunsRequest, ApplyWorkflowsRequest):
        assert all(messages.of(kind.DESCRIPTOR).SerializeToString() is not None for _ in range(100))
