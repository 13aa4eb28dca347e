"""Retries, dead letters, timeouts and cancelling."""

from __future__ import annotations

from itertools import pairwise

from google.protobuf.json_format import MessageToDict

from taskforge.security.masking import MASK
from taskforge.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLetterRequest,
    GetDeadLetterRequest,
    RedriveDeadLetterRequest,
)
from taskforge.v1.run_service_pb2 import CancelRunRequest, RetryRunRequest
from tests.e2e.stories import Workflows
from tests.support.api import Api, plain, run_state, step_of, step_states
from tests.support.stack import Stack
from tests.support.target import Answer, Target
from tests.support.waiting import eventually

RETRYING = """
    name: $name
    steps:
      - id: call
        http: {url: $target/flaky}
        retry: {max_attempts: 3, initial: 200ms, factor: 2, jitter: none, on: [5xx]}
      - {id: after, transform: {value: "${{ steps.call.output.body.ok }}"}}
    output: ${{ steps.after.output }}
"""
OK = Answer(json={"ok": "yes"})
BROKEN = Answer(status=503, body=b"try later")


async def test_a_step_is_retried_with_growing_delays(api: Api, workflows: Workflows, target: Target) -> None:
    target.answer("/flaky", BROKEN, BROKEN, OK)
    run = await api.ended((await api.start(await workflows.apply(RETRYING))).name)

    attempts = step_of(run, "call").attempts
    assert [attempt.outcome for attempt in attempts] == ["FAILED", "FAILED", "SUCCEEDED"]
    pauses = [
        after.start_time.ToNanoseconds() - before.end_time.ToNanoseconds() for before, after in pairwise(attempts)
    ]
    assert pauses[0] >= 200_000_000
    assert pauses[1] >= 400_000_000
    states = [event.to_state for event in await api.events(run.name) if event.step == "call"]
    assert states == ["QUEUED", "RUNNING", *["RETRYING", "QUEUED", "RUNNING"] * 2, "SUCCEEDED"]


async def test_what_gave_up_is_kept_and_can_be_run_again(api: Api, workflows: Workflows, target: Target) -> None:
    target.answer("/flaky", BROKEN, BROKEN, BROKEN, OK)
    run = await api.ended((await api.start(await workflows.apply(RETRYING))).name, "FAILED")
    assert run.error.step == "call"
    assert step_of(run, "call").error.status == 503

    [letter] = await api.dead_letters(run.name)
    assert (letter.step, letter.state, letter.attempts) == ("call", DeadLetter.STATE_OPEN, 3)
    assert "3 of 3 attempts" in letter.reason
    redriven = await api.call(
        api.letters.RedriveDeadLetter, RedriveDeadLetterRequest(name=letter.name, comment="it is up again")
    )
    assert (redriven.state, redriven.comment) == (DeadLetter.STATE_REDRIVEN, "it is up again")
    again = await api.ended(run.name)
    assert plain(again.output) == "yes"
    assert step_states(again) == {"call": "SUCCEEDED", "after": "SUCCEEDED"}

    refused = await api.refused(api.letters.RedriveDeadLetter, RedriveDeadLetterRequest(name=letter.name))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "DEAD_LETTER_CLOSED")


async def test_a_dead_letter_is_discarded_once(api: Api, workflows: Workflows, target: Target) -> None:
    target.answer("/flaky", BROKEN)
    run = await api.ended((await api.start(await workflows.apply(RETRYING))).name, "FAILED")
    [letter] = await api.dead_letters(run.name)
    await api.call(api.letters.DiscardDeadLetter, DiscardDeadLetterRequest(name=letter.name, comment="not needed"))
    kept = await api.call(api.letters.GetDeadLetter, GetDeadLetterRequest(name=letter.name))
    assert (kept.state, kept.comment) == (DeadLetter.STATE_DISCARDED, "not needed")
    assert kept.closed_by
    refused = await api.refused(api.letters.DiscardDeadLetter, DiscardDeadLetterRequest(name=letter.name))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "DEAD_LETTER_CLOSED")
    assert run_state(await api.run(run.name)) == "FAILED"


async def test_a_failed_run_is_retried_from_where_it_failed(api: Api, workflows: Workflows, target: Target) -> None:
    target.answer("/second", Answer(status=404), OK)
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: first, http: {method: POST, url: $target/first}}
          - {id: second, http: {method: POST, url: $target/second}}
    """)
    run = await api.ended((await api.start(name)).name, "FAILED")
    await api.call(api.runs.RetryRun, RetryRunRequest(name=run.name))
    await api.ended(run.name)
    assert [request.path for request in target.requests] == ["/first", "/second", "/second"]
    keys = [request.headers["idempotency-key"] for request in target.on("/second")]
    assert keys[0] != keys[1]  # somebody decided to send it again


async def test_a_request_with_an_effect_is_not_repeated_by_itself(
    api: Api, workflows: Workflows, target: Target
) -> None:
    target.answer("/pay", BROKEN)
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: pay, http: {method: POST, url: $target/pay}}
    """)
    run = await api.ended((await api.start(name)).name, "FAILED")
    assert len(target.on("/pay")) == 1
    [letter] = await api.dead_letters(run.name)
    assert "status 503 is not retried" in letter.reason


async def test_a_step_that_takes_too_long_is_stopped(api: Api, workflows: Workflows, target: Target) -> None:
    target.hold("/slow")
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: call, http: {url: $target/slow}, timeout: 300ms, retry: {max_attempts: 1}}
    """)
    run = await api.ended((await api.start(name)).name, "FAILED")
    step = step_of(run, "call")
    assert [attempt.outcome for attempt in step.attempts] == ["TIMED_OUT"]
    assert step.error.kind == "timeout"
    assert "300ms" in step.error.message or "0.3" in step.error.message


async def test_a_run_that_takes_too_long_is_stopped(api: Api, workflows: Workflows, target: Target) -> None:
    target.hold("/slow")
    name = await workflows.apply("""
        name: $name
        timeout: 1s
        steps:
          - {id: call, http: {url: $target/slow}}
          - {id: after, transform: {value: 1}}
    """)
    run = await api.ended((await api.start(name)).name, "FAILED", within=30.0)
    assert run.error.kind == "run_timeout"
    assert step_states(run) == {"call": "CANCELLED", "after": "CANCELLED"}


async def test_a_running_step_is_cancelled(api: Api, workflows: Workflows, target: Target) -> None:
    target.hold("/slow")
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: call, http: {url: $target/slow}}
          - {id: after, http: {method: POST, url: $target/after}}
    """)
    started = await api.start(name)
    await eventually(lambda: _arrived(target))
    answer = await api.call(api.runs.CancelRun, CancelRunRequest(name=started.name, comment="no more"))
    assert run_state(answer) in ("CANCELLING", "CANCELLED")

    run = await api.ended(started.name, "CANCELLED", within=30.0)
    assert step_states(run) == {"call": "CANCELLED", "after": "CANCELLED"}
    assert not target.on("/after")
    refused = await api.refused(api.runs.CancelRun, CancelRunRequest(name=started.name))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "RUN_FINISHED")


def _arrived(target: Target) -> None:
    assert target.on("/slow")


async def test_secrets_reach_the_request_and_nothing_else(
    api: Api, workflows: Workflows, target: Target, stack: Stack
) -> None:
    value = 'p@ss"wörd/+=\\'
    target.answer("/login", Answer(status=403, body=f"no {value} here".encode()))
    target.answer("/echo", Answer(json={"you_sent": value, "quoted": f"<{value}>"}))
    secret = await workflows.secret(value)
    name = await workflows.apply(
        """
        name: $name
        steps:
          - {id: echo, http: {url: $target/echo, headers: {x-key: "${{ secrets.$secret }}"}}}
          - {id: tell, log: "got ${{ steps.echo.output.body.you_sent }}"}
          - {id: login, http: {method: POST, url: $target/login, json: {password: "${{ secrets.$secret }}"}}}
        """,
        secret=secret,
    )
    run = await api.ended((await api.start(name)).name, "FAILED")
    assert target.on("/login")[0].json() == {"password": value}

    letters = [MessageToDict(letter) for letter in await api.dead_letters(run.name)]
    lines = [line.message for line in await api.logs(run.name)]
    events = [MessageToDict(event) for event in await api.events(run.name)]
    seen = repr([MessageToDict(run), letters, lines, events])
    assert "wörd" not in seen
    assert "w\\xf6rd" not in seen
    assert MASK in seen
    if stack.is_local:
        written = "".join(file.read_text(errors="replace") for file in (stack.home / "log").iterdir())
        assert value not in written
        assert "w\\u00f6rd" not in written
