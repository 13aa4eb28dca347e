"""The life of runs in the database: starts, claims, stretches, the fence, redrives."""

from __future__ import annotations

import asyncio

import pytest

from taskforge.domain.errors import TaskforgeError
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.ids import new_id
from taskforge.scheduler.operators import Request
from taskforge.scheduler.starts import StartedRun
from tests.support.engine import KIND, RESULT, Engine, failed, stretch, succeeded

CHAIN = """
name: demo
steps:
  - id: fetch
    http: {method: GET, url: "http://localhost/"}
    retry: {max_attempts: 2, initial: 1ms, max: 1ms, on: [5xx]}
  - id: shape
    transform: {value: "${{ steps.fetch.output.body }}"}
  - id: route
    switch:
      - if: ${{ steps.shape.output == 1 }}
        steps:
          - id: send
            http: {method: POST, url: "http://localhost/"}
      - else:
        steps:
          - id: note
            log: nothing to do
output: ${{ steps.shape.output }}
"""
FETCH, SHAPE, ROUTE, SEND, NOTE, OUTPUT = range(6)

PARALLEL = """
name: demo
steps:
  - {id: a, http: {method: POST, url: "http://localhost/a"}}
  - {id: b, needs: [], http: {method: POST, url: "http://localhost/b"}}
  - {id: c, needs: [a, b], http: {method: POST, url: "http://localhost/c"}}
"""

ONE = """
name: demo
steps:
  - {id: only, http: {method: POST, url: "http://localhost/"}}
"""
ALICE, BOB = new_id(), new_id()
WHO = Request(actor="tester", comment="why not")


async def test_chain_ends_succeeded_with_its_output(engine: Engine) -> None:
    run = await engine.start(await engine.revision(CHAIN))
    [grant] = await engine.claim(ALICE, *engine.hints.refs)
    first = await engine.report(
        ALICE,
        stretch(grant.lease, succeeded(FETCH, '{"body": 1}'), succeeded(SHAPE, "1"), succeeded(ROUTE, "{}", branch=0)),
    )
    assert first.kind == RESULT.KIND_ACCEPTED
    assert first.next.lease.step == SEND

    last = await engine.report(ALICE, stretch(first.next.lease, succeeded(SEND), succeeded(OUTPUT, "1")))

    assert last.kind == RESULT.KIND_ACCEPTED
    [row] = await engine.fetch("SELECT state, output, error, ended_at FROM runs WHERE run_id = $1", run)
    assert (row["state"], row["output"], row["error"]) == ("SUCCEEDED", "1", None)
    assert row["ended_at"] is not None
    assert (await engine.step_states(run))[NOTE] == "SKIPPED"


async def test_events_are_numbered_without_gaps_and_end_with_the_run(engine: Engine) -> None:
    run = await engine.start(await engine.revision(CHAIN))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(FETCH, status=404)))

    events = await engine.fetch("SELECT seq, step, to_state FROM events WHERE run_id = $1 ORDER BY seq", run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["step"], events[0]["to_state"]) == (None, "QUEUED")
    assert (events[-1]["step"], events[-1]["to_state"]) == (None, "FAILED")


async def test_a_lost_answer_to_a_claim_is_given_again(engine: Engine) -> None:
    await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE, *engine.hints.refs)
    [again] = await engine.claim(ALICE, *engine.hints.refs)
    assert again.lease == grant.lease
    assert await engine.claim(BOB, *engine.hints.refs) == []


async def test_a_completion_sent_again_is_already_accepted_and_grants_the_same_next_step(engine: Engine) -> None:
    await engine.start(await engine.revision(CHAIN))
    [grant] = await engine.claim(ALICE)
    report = stretch(
        grant.lease, succeeded(FETCH, '{"body": 1}'), succeeded(SHAPE, "1"), succeeded(ROUTE, "{}", branch=0)
    )
    first = await engine.report(ALICE, report)
    second = await engine.report(ALICE, report)
    assert second.kind == RESULT.KIND_ALREADY_ACCEPTED
    assert second.next.lease == first.next.lease


async def test_another_result_for_the_same_lease_is_stale(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, succeeded(0, "1")))
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0, "2")))).kind == RESULT.KIND_STALE_LEASE
    assert await engine.fetch("SELECT 1 FROM steps WHERE run_id = $1 AND output::text = '1'", run)


async def test_a_result_after_the_lease_ran_out_is_stale_even_if_nobody_claimed_the_step(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await engine.expire(run)
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0)))).kind == RESULT.KIND_STALE_LEASE
    assert await engine.renew(ALICE, grant.lease) == [pb.RenewLeasesResponse.RESULT_LOST]


async def test_a_step_whose_executor_was_lost_runs_again_elsewhere_under_a_new_token(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await engine.expire(run)
    assert await engine.sweeper.expire_leases() == 1
    [taken_over] = await engine.claim(BOB)
    assert taken_over.lease.token > grant.lease.token
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0)))).kind == RESULT.KIND_STALE_LEASE
    assert (await engine.report(BOB, stretch(taken_over.lease, succeeded(0)))).kind == RESULT.KIND_ACCEPTED
    [attempt, _] = await engine.fetch("SELECT outcome FROM attempts WHERE run_id = $1 ORDER BY attempt", run)
    assert attempt["outcome"] == "UNKNOWN"


async def test_a_step_that_loses_every_executor_becomes_one_dead_letter(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    for _ in range(3):
        assert len(await engine.claim(ALICE)) == 1
        await engine.expire(run)
        assert await engine.sweeper.expire_leases() == 1
    assert await engine.run_state(run) == "FAILED"
    [letter] = await engine.fetch("SELECT state, crashes FROM dead_letters WHERE run_id = $1", run)
    assert (letter["state"], letter["crashes"]) == ("OPEN", 3)


async def test_a_failed_attempt_is_retried_when_due_and_then_given_up(engine: Engine) -> None:
    run = await engine.start(await engine.revision(CHAIN))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(FETCH, status=503)))
    assert (await engine.step_states(run))[FETCH] == "RETRYING"
    await engine.execute("UPDATE steps SET due_at = clock_timestamp() WHERE state = 'RETRYING'")
    assert await engine.sweeper.queue_due_retries() == 1
    [grant] = await engine.claim(BOB)
    assert grant.attempt == 2
    await engine.report(BOB, stretch(grant.lease, failed(FETCH, status=503)))
    assert await engine.run_state(run) == "FAILED"
    [letter] = await engine.fetch("SELECT step_id, reason FROM dead_letters WHERE run_id = $1", run)
    assert (letter["step_id"], letter["reason"]) == ("fetch", "2 of 2 attempts used")
    states = await engine.step_states(run)
    assert {states[index] for index in (SHAPE, ROUTE, SEND, NOTE, OUTPUT)} == {"CANCELLED"}


async def test_redriving_a_dead_letter_runs_the_step_again_and_the_rest_after_it(engine: Engine) -> None:
    run = await engine.start(await engine.revision(CHAIN))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(FETCH, status=404)))
    [letter] = await engine.fetch("SELECT dead_letter_id FROM dead_letters")

    error, hints = await engine.operators.redrive(letter["dead_letter_id"], WHO)

    assert error is None
    assert list(hints) == [(run, FETCH)]
    assert await engine.run_state(run) == "RUNNING"
    [grant] = await engine.claim(BOB)
    assert (grant.epoch, grant.attempt) == (1, 1)
    report = stretch(
        grant.lease,
        succeeded(FETCH, "{}"),
        succeeded(SHAPE, "2"),
        succeeded(ROUTE, "{}", branch=1),
        succeeded(NOTE),
        succeeded(OUTPUT, "2"),
    )
    assert (await engine.report(BOB, report)).kind == RESULT.KIND_ACCEPTED
    assert await engine.run_state(run) == "SUCCEEDED"
    [letter] = await engine.fetch("SELECT state, closed_by, comment FROM dead_letters")
    assert tuple(letter.values()) == ("REDRIVEN", "tester", "why not")


async def test_a_closed_dead_letter_stays_closed(engine: Engine) -> None:
    await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(0, status=404)))
    [letter] = await engine.fetch("SELECT dead_letter_id FROM dead_letters")
    assert await engine.operators.discard(letter["dead_letter_id"], WHO) is None
    again = await engine.operators.discard(letter["dead_letter_id"], WHO)
    redriven, _ = await engine.operators.redrive(letter["dead_letter_id"], WHO)
    assert again is not None
    assert again.reason == "DEAD_LETTER_CLOSED"
    assert redriven is not None
    assert redriven.reason == "DEAD_LETTER_CLOSED"


async def test_parallel_steps_are_granted_and_hinted_and_their_join_waits_for_both(engine: Engine) -> None:
    run = await engine.start(await engine.revision(PARALLEL))
    a, b = sorted(await engine.claim(ALICE), key=lambda grant: grant.lease.step)
    first, second = await asyncio.gather(
        engine.report(ALICE, stretch(a.lease, succeeded(0))), engine.report(ALICE, stretch(b.lease, succeeded(1)))
    )
    granted = [result.next.lease.step for result in (first, second) if result.HasField("next")]
    assert granted == [2]
    assert await engine.step_states(run) == {0: "SUCCEEDED", 1: "SUCCEEDED", 2: "RUNNING"}


async def test_cancel_stops_what_waits_and_lets_what_runs_end(engine: Engine) -> None:
    run = await engine.start(await engine.revision(PARALLEL))
    [a] = await engine.claim(ALICE, (run, 0))
    assert await engine.operators.cancel(run, WHO) is None
    assert await engine.run_state(run) == "CANCELLING"
    assert await engine.renew(ALICE, a.lease) == [pb.RenewLeasesResponse.RESULT_STOP]
    outcome = pb.StepOutcome(step=0, kind=KIND.KIND_CANCELLED)
    assert (await engine.report(ALICE, stretch(a.lease, outcome))).kind == RESULT.KIND_ACCEPTED
    assert await engine.run_state(run) == "CANCELLED"


async def test_released_step_is_queued_again_without_counting_a_failure(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, pb.StepOutcome(step=0, kind=KIND.KIND_RELEASED), accept_next=False))
    [row] = await engine.fetch("SELECT state, failures, crashes FROM steps WHERE run_id = $1", run)
    assert tuple(row.values()) == ("QUEUED", 0, 0)


async def test_the_same_key_starts_one_run_and_refuses_another_request(engine: Engine) -> None:
    revision = await engine.revision(ONE)
    same = [engine.new_run(revision, key=("api:demo", "k"), request_hash=b"1") for _ in range(3)]
    results, _ = await engine.starter.start(same)
    assert all(isinstance(result, StartedRun) for result in results)
    assert len({result.run_id for result in results if isinstance(result, StartedRun)}) == 1

    other, _ = await engine.starter.start([engine.new_run(revision, key=("api:demo", "k"), request_hash=b"2")])

    assert isinstance(other[0], TaskforgeError)
    assert other[0].reason == "IDEMPOTENCY_KEY_REUSED"
    assert len(await engine.fetch("SELECT 1 FROM runs")) == 1


async def test_a_key_that_is_taken_holds_up_nobody_else_in_its_batch(engine: Engine) -> None:
    revision = await engine.revision(ONE)
    first = engine.new_run(revision, key=("api:demo", "taken"))
    await engine.starter.start([first])
    late = engine.new_run(revision, key=("api:demo", "taken"))
    plain, fresh = engine.new_run(revision), engine.new_run(revision, key=("api:demo", "fresh"))

    results, hints = await engine.starter.start([late, plain, first, fresh])

    assert results == [
        StartedRun(run_id=first.run_id, created=False),
        StartedRun(run_id=plain.run_id, created=True),
        StartedRun(run_id=first.run_id, created=False),
        StartedRun(run_id=fresh.run_id, created=True),
    ]
    assert set(hints) == {(plain.run_id, 0), (fresh.run_id, 0)}
    owners = await engine.fetch("SELECT key, run_id FROM idempotency_keys")
    assert {row["key"]: row["run_id"] for row in owners} == {"taken": first.run_id, "fresh": fresh.run_id}
    assert len(await engine.fetch("SELECT 1 FROM runs")) == 3
    assert len(await engine.fetch("SELECT 1 FROM steps")) == 3


async def test_a_key_belongs_to_no_run_that_was_not_written(engine: Engine) -> None:
    revision = await engine.revision(ONE)
    key = ("api:demo", "k")
    rivals = [engine.new_run(revision, key=key) for _ in range(8)]
    answers = await asyncio.gather(*(engine.starter.start([rival]) for rival in rivals))
    [run] = await engine.fetch("SELECT run_id FROM runs")
    created = [result for results, _ in answers for result in results]
    assert {result.run_id for result in created if isinstance(result, StartedRun)} == {run["run_id"]}
    assert sum(result.created for result in created if isinstance(result, StartedRun)) == 1
    assert len(created) == len(rivals)


async def test_a_start_sent_again_creates_nothing(engine: Engine) -> None:
    run = engine.new_run(await engine.revision(ONE))
    [first], _ = await engine.starter.start([run])
    [second], _ = await engine.starter.start([run])
    assert first == StartedRun(run_id=run.run_id, created=True)
    assert second == StartedRun(run_id=run.run_id, created=False)
    assert len(await engine.fetch("SELECT 1 FROM events WHERE step IS NULL")) == 1


async def test_output_that_cannot_be_stored_is_rejected_and_the_step_stays_leased(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    for bad in ('"\\u0000"', '"\\ud800"', "x" * 2_000_000):
        result = await engine.report(ALICE, stretch(grant.lease, succeeded(0, bad)))
        assert result.kind == RESULT.KIND_REJECTED
    assert await engine.step_states(run) == {0: "RUNNING"}


async def test_a_run_whose_timeout_passed_ends_failed(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE.replace("steps:", "timeout: 1h\nsteps:")))
    await engine.execute("UPDATE runs SET deadline_at = clock_timestamp()")
    assert await engine.sweeper.stop_overdue_runs() == 1
    [row] = await engine.fetch("SELECT state, error->>'kind' AS kind FROM runs WHERE run_id = $1", run)
    assert tuple(row.values()) == ("FAILED", "run_timeout")


async def test_final_states_are_guarded_by_the_database_itself(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    with pytest.raises(Exception, match="cannot become PENDING"):
        await engine.execute("UPDATE steps SET state = 'PENDING', ended_at = NULL WHERE run_id = $1", run)


async def test_steps_that_wait_for_long_are_hinted_again(engine: Engine) -> None:
    run = await engine.start(await engine.revision(ONE))
    engine.hints.refs.clear()
    await engine.execute("UPDATE steps SET queued_at = queued_at - interval '10 seconds'")
    assert await engine.sweeper.rehint() == 1
    assert engine.hints.refs == [(run, 0)]


@pytest.mark.parametrize(("unread", "hinted"), [(None, 1), (0, 1), (1, 0)])
async def test_nothing_is_hinted_again_while_hints_are_unread(engine: Engine, unread: int | None, hinted: int) -> None:
    await engine.start(await engine.revision(ONE))
    await engine.execute("UPDATE steps SET queued_at = queued_at - interval '10 seconds'")
    engine.hints.unread = unread
    assert await engine.sweeper.rehint() == hinted
