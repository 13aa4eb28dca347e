"""What leaves the executor is masked and can be stored."""

from __future__ import annotations

import pytest

from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, Skipped, StepError, Succeeded
from taskforge.executor.messages import Ended, seal_data, seal_outcome, seal_text, tell
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.security.masking import Masker

NONE = Masker([])
SECRET = Masker(['s3c"r3t-ä'])
KIND = pb.StepOutcome.Kind


def test_an_output_is_encoded_once_and_unchanged() -> None:
    outcome = Succeeded(output={"b": [1, "ä"], "a": None})
    assert seal_outcome(outcome, NONE) == (outcome, '{"b":[1,"ä"],"a":null}')


def test_secrets_are_masked_in_the_output_and_in_what_later_steps_see() -> None:
    sealed, text = seal_outcome(Succeeded(output={"x": 'a s3c"r3t-ä b', 's3c"r3t-ä': 1}, branch=2), SECRET)
    assert isinstance(sealed, Succeeded)
    assert sealed.output == {"x": "a ••• b", "•••": 1}
    assert sealed.branch == 2
    assert text == '{"x":"a ••• b","•••":1}'


@pytest.mark.parametrize("output", [float("nan"), "\0", "\ud800", {1: 2}, object(), "x" * 1_048_577])
def test_what_cannot_be_stored_is_a_typed_failure(output: object) -> None:
    sealed, text = seal_outcome(Succeeded(output=output), NONE)
    assert isinstance(sealed, Failed)
    assert sealed.error.kind is ErrorKind.OUTPUT
    assert text == ""


def test_errors_are_masked_throughout_and_bounded() -> None:
    error = StepError(kind=ErrorKind.STATUS, message='no s3c"r3t-ä\0' + "x" * 5000, status=500, details=['s3c"r3t-ä'])
    sealed, _ = seal_outcome(Failed(error=error), SECRET)
    assert isinstance(sealed, Failed)
    assert sealed.error.message.startswith("no •••\N{REPLACEMENT CHARACTER}xxx")
    assert len(sealed.error.message) == 4001
    assert sealed.error.details == ["•••"]


def test_details_that_cannot_be_stored_are_left_out() -> None:
    sealed, _ = seal_outcome(Failed(error=StepError(kind=ErrorKind.FAIL, message="m", details="\0")), NONE)
    assert isinstance(sealed, Failed)
    assert sealed.error.details is None


def test_log_texts_and_data() -> None:
    assert seal_text('\ud800 s3c"r3t-ä', SECRET) == "? •••"
    assert seal_data({"a": 's3c"r3t-ä'}, SECRET) == '{"a":"•••"}'
    assert "NUL" in seal_data("\0", NONE)


def told(outcome: Outcome, *, step: int = 0, elapsed_us: int = 0) -> pb.StepOutcome:
    message = pb.StepOutcome()
    tell(message, Ended(step, outcome, "1", elapsed_us))
    return message


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Succeeded(), KIND.KIND_SUCCEEDED),
        (Skipped(), KIND.KIND_SKIPPED),
        (Failed(error=StepError(kind=ErrorKind.FAIL, message="m")), KIND.KIND_FAILED),
        (Cancelled(), KIND.KIND_CANCELLED),
        (Released(), KIND.KIND_RELEASED),
    ],
)
def test_every_outcome_has_its_kind(outcome: Outcome, kind: int) -> None:
    message = told(outcome, step=3, elapsed_us=7)
    assert (message.step, message.kind, message.elapsed_us) == (3, kind, 7)
    assert message.HasField("error") == isinstance(outcome, Failed)


def test_branches_and_waits_are_told_apart_from_nothing() -> None:
    assert told(Succeeded(branch=0)).branch_plus_one == 1
    assert told(Succeeded(branch=-1)).branch_plus_one == 0
    assert told(Succeeded()).branch_plus_one == 0
    now = Failed(error=StepError(kind=ErrorKind.STATUS, message="m", status=429, retry_after=0.0))
    message = told(now)
    assert (message.error.status, message.error.retry_after_ms_plus_one) == (429, 1)
    later = Failed(error=StepError(kind=ErrorKind.STATUS, message="m", retry_after=1.5, details={"a": 1}))
    assert told(later).error.retry_after_ms_plus_one == 1501
    assert told(later).error.details_json == '{"a":1}'
