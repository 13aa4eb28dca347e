"""What people ask for: stop, run again, redrive, discard. Refused when it makes no sense, audited when it does."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from taskforge.runtime.ids import new_id
from taskforge.v1 import dead_letter_service_pb2, run_pb2, run_service_pb2
from tests.support.engine import Engine, failed, stretch, succeeded
from tests.support.gateway import Api, Refusal

RUN = run_pb2.Run.State
STEP = run_pb2.Step.State
LETTER = dead_letter_service_pb2.DeadLetter.State
ALICE = new_id()
TWO = """
name: demo
steps:
  - {id: a, http: {method: POST, url: "http://localhost/"}}
  - {id: b, http: {method: POST, url: "http://localhost/"}}
"""

pytestmark = pytest.mark.usefixtures("scheduler")


async def failed_run(api: Api, engine: Engine, *, workflow: str = "demo") -> str:
    name = (await api.start(workflow)).name
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(0, status=500, message="broken")))
    return name


async def succeed(engine: Engine) -> None:
    [grant] = await engine.claim(ALICE)
    result = await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    await engine.report(ALICE, stretch(result.next.lease, succeeded(1)))


async def audited(engine: Engine) -> list[tuple[str, str, Any]]:
    entries = await engine.fetch("SELECT action, object, detail FROM audit WHERE actor = 'admin' ORDER BY audit_id")
    return [(e["action"], e["object"], json.loads(e["detail"])) for e in entries if e["action"] != "workflow.apply"]


async def letters(api: Api, **fields: Any) -> list[dead_letter_service_pb2.DeadLetter]:
    request = dead_letter_service_pb2.ListDeadLettersRequest(**fields)
    return list((await api.call(api.dead_letters.ListDeadLetters, request)).dead_letters)


def cancel(api: Api, name: str) -> Any:
    return api.call(api.runs.CancelRun, run_service_pb2.CancelRunRequest(name=name, comment="changed my mind"))


async def test_a_queued_run_is_cancelled_at_once(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = (await api.start("demo")).name
    run = await cancel(api, name)
    assert run.state == RUN.STATE_CANCELLED
    assert [step.state for step in run.steps] == [STEP.STATE_CANCELLED] * 2
    assert await audited(engine) == [("run.cancel", name, {"comment": "changed my mind"})]


async def test_a_run_that_an_executor_holds_is_cancelling_until_the_step_ends(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = (await api.start("demo")).name
    await engine.claim(ALICE)
    assert (await cancel(api, name)).state == RUN.STATE_CANCELLING
    assert (await cancel(api, name)).state == RUN.STATE_CANCELLING


async def test_a_run_that_has_ended_cannot_be_cancelled(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = await failed_run(api, engine)
    refusal = await api.refused(api.runs.CancelRun, run_service_pb2.CancelRunRequest(name=name))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_FINISHED")
    assert await audited(engine) == []


async def test_a_failed_run_is_run_again_in_place(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = await failed_run(api, engine)
    run = await api.call(api.runs.RetryRun, run_service_pb2.RetryRunRequest(name=name))
    assert (run.state, run.steps[0].state) == (RUN.STATE_RUNNING, STEP.STATE_QUEUED)
    assert [(attempt.epoch, attempt.outcome) for attempt in run.steps[0].attempts] == [(0, "FAILED")]
    assert not run.HasField("error")
    [letter] = await letters(api, state=LETTER.STATE_REDRIVEN)
    assert (letter.run, letter.closed_by) == (name, "admin")
    await succeed(engine)
    assert (await api.run(name)).state == RUN.STATE_SUCCEEDED
    assert await audited(engine) == [("run.retry", name, {})]


@pytest.mark.parametrize("ending", ["none", "success"])
async def test_a_run_that_has_not_failed_cannot_be_run_again(api: Api, engine: Engine, ending: str) -> None:
    await api.apply(TWO)
    name = (await api.start("demo")).name
    if ending == "success":
        await succeed(engine)
    refusal = await api.refused(api.runs.RetryRun, run_service_pb2.RetryRunRequest(name=name))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_NOT_RETRYABLE")


async def test_a_step_that_gave_up_is_listed_with_all_that_is_known(api: Api, engine: Engine) -> None:
    await api.apply(TWO, TWO.replace("name: demo", "name: other"))
    first = await failed_run(api, engine)
    second = await failed_run(api, engine, workflow="other")
    newest, oldest = await letters(api)
    assert (newest.run, oldest.run) == (second, first)
    assert (oldest.workflow, oldest.step, oldest.state) == ("workflows/demo", "a", LETTER.STATE_OPEN)
    assert (oldest.error.message, oldest.error.status, oldest.attempts) == ("broken", 500, 1)
    assert oldest.reason
    assert not oldest.HasField("close_time")

    assert [one.run for one in await letters(api, workflow="workflows/demo")] == [first]
    assert [one.run for one in await letters(api, run=second)] == [second]
    assert [one.run for one in await letters(api, page_size=1)] == [second]
    assert await letters(api, state=LETTER.STATE_DISCARDED) == []


async def test_a_redriven_dead_letter_runs_its_step_again_once(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = await failed_run(api, engine)
    [letter] = await letters(api)
    request = dead_letter_service_pb2.RedriveDeadLetterRequest(name=letter.name, comment="fixed")
    redriven = await api.call(api.dead_letters.RedriveDeadLetter, request)
    assert (redriven.state, redriven.closed_by, redriven.comment) == (LETTER.STATE_REDRIVEN, "admin", "fixed")
    assert redriven.HasField("close_time")

    refusal = await api.refused(api.dead_letters.RedriveDeadLetter, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEAD_LETTER_CLOSED")
    await succeed(engine)
    assert (await api.run(name)).state == RUN.STATE_SUCCEEDED
    assert await audited(engine) == [("dead_letter.redrive", letter.name, {"comment": "fixed"})]


async def test_a_discarded_dead_letter_runs_nothing(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = await failed_run(api, engine)
    [letter] = await letters(api)
    request = dead_letter_service_pb2.DiscardDeadLetterRequest(name=letter.name, comment="known")
    discarded = await api.call(api.dead_letters.DiscardDeadLetter, request)
    assert (discarded.state, discarded.comment) == (LETTER.STATE_DISCARDED, "known")
    refusal = await api.refused(api.dead_letters.DiscardDeadLetter, request)
    assert refusal.reason == "DEAD_LETTER_CLOSED"
    assert (await api.run(name)).state == RUN.STATE_FAILED


async def test_a_dead_letter_is_found_by_the_start_of_its_id(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    await failed_run(api, engine)
    [letter] = await letters(api)
    request = dead_letter_service_pb2.GetDeadLetterRequest(name=letter.name[:-10])
    assert await api.call(api.dead_letters.GetDeadLetter, request) == letter
    await failed_run(api, engine)
    request.name = letter.name[: len("deadLetters/") + 8]
    ambiguous: Refusal = await api.refused(api.dead_letters.GetDeadLetter, request)
    assert (ambiguous.reason, len(ambiguous.metadata["candidates"].split(","))) == ("FIELD_INVALID", 2)
    request.name = "deadLetters/ffffffff"
    assert (await api.refused(api.dead_letters.GetDeadLetter, request)).reason == "DEAD_LETTER_NOT_FOUND"


async def test_a_comment_has_a_limit(api: Api, engine: Engine) -> None:
    await api.apply(TWO)
    name = (await api.start("demo")).name
    request = run_service_pb2.CancelRunRequest(name=name, comment="x" * 1001)
    assert (await api.refused(api.runs.CancelRun, request)).reason == "FIELD_INVALID"
    assert (await api.run(name)).state == RUN.STATE_QUEUED
