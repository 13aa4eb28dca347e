"""The model of the operations says so when an answer is wrong."""

from __future__ import annotations

import pytest

from tests.chaos.parts.expectations import OK, Kind, Model, ModelRun


@pytest.fixture(name="model")
def _model() -> Model:
    model = Model(["a", "b"])
    assert not model.applied("a", Kind.BAD, OK)
    assert not model.started("a", "request-1", OK, "runs/1")
    return model


def rested(model: Model) -> ModelRun:
    run = model.runs["runs/1"]
    assert not model.rested(run, "FAILED", {"deadLetters/1": "OPEN"})
    return run


def test_the_way_of_a_failed_run(model: Model) -> None:
    run = rested(model)
    assert not model.redriven(run, "deadLetters/1", OK, perhaps=False)
    assert not model.rested(run, "FAILED", {"deadLetters/1": "REDRIVEN", "deadLetters/2": "OPEN"})
    assert not model.discarded(run, "deadLetters/2", OK, perhaps=False)
    assert not model.retried(run, OK, perhaps=False, has_failed_steps=True)
    assert not model.cancelled(run, OK, perhaps=False)
    assert not model.rested(run, "CANCELLED", {"deadLetters/1": "REDRIVEN", "deadLetters/2": "DISCARDED"})


def test_one_request_is_one_run(model: Model) -> None:
    assert not model.started("a", "request-1", OK, "runs/1")
    assert model.started("a", "request-1", OK, "runs/2")


def test_what_is_missing_starts_nothing(model: Model) -> None:
    assert not model.started("b", "request-2", "WORKFLOW_NOT_FOUND", "")
    assert model.started("b", "request-2", OK, "runs/2")


def test_a_definition_is_deleted_once(model: Model) -> None:
    assert not model.deleted("a", OK, perhaps=False)
    assert model.deleted("a", OK, perhaps=False)


def test_a_confirmed_cancel_is_kept(model: Model) -> None:
    run = model.runs["runs/1"]
    assert not model.cancelled(run, OK, perhaps=False)
    assert model.rested(run, "FAILED", {"deadLetters/1": "OPEN"})


def test_a_run_that_rests_is_not_cancelled(model: Model) -> None:
    assert model.cancelled(rested(model), OK, perhaps=False)


@pytest.mark.parametrize(
    "letters",
    [{}, {"deadLetters/1": "OPEN", "deadLetters/2": "OPEN"}, {"deadLetters/1": "REDRIVEN"}],
    ids=["none", "two", "closed by nobody"],
)
def test_a_failure_leaves_one_open_dead_letter(model: Model, letters: dict[str, str]) -> None:
    assert model.rested(model.runs["runs/1"], "FAILED", letters)


def test_a_dead_letter_is_closed_once(model: Model) -> None:
    run = rested(model)
    assert not model.discarded(run, "deadLetters/1", OK, perhaps=False)
    assert model.redriven(run, "deadLetters/1", OK, perhaps=False)


def test_a_call_that_was_perhaps_done_may_find_that_it_was(model: Model) -> None:
    run = rested(model)
    assert not model.redriven(run, "deadLetters/1", "DEAD_LETTER_CLOSED", perhaps=True)
    assert not run.ended, "it runs again"


def test_an_end_that_the_kind_does_not_have(model: Model) -> None:
    assert model.rested(model.runs["runs/1"], "SUCCEEDED", {})
