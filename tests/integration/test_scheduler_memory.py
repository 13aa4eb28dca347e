"""What a scheduler remembers of runs saves reading, and never decides against what the database holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from taskforge.domain.errors import Unavailable
from taskforge.failpoints import Point
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.runtime.ids import new_id
from taskforge.scheduler.claims import Claim
from taskforge.scheduler.completions import Report
from taskforge.scheduler.operators import Request
from taskforge.store import pool
from taskforge.store.run_writes import WriteConflict
from tests.support.engine import RESULT, TWO, Engine, failed, stretch, succeeded
from tests.support.postgres import Database
from tests.support.waiting import eventually

PARALLEL = """
name: demo
steps:
  - {id: a, http: {method: POST, url: "http://localhost/a"}}
  - {id: b, needs: [], http: {method: POST, url: "http://localhost/b"}}
  - {id: c, needs: [a, b], http: {method: POST, url: "http://localhost/${{ steps.a.output.status }}"}}
"""
ALICE, BOB = new_id(), new_id()
WHO = Request(actor="tester", comment="why not")


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Engine]:
    """A second scheduler over the same database."""
    engine = Engine(database)
    yield engine
    await engine.close()


@pytest.fixture
async def revision(engine: Engine) -> UUID:
    return await engine.revision(TWO)


async def claim_known(engine: Engine, executor: UUID, *refs: tuple[UUID, int]) -> tuple[list[pb.Grant], bool]:
    """What is granted from memory, and whether something is left to be read."""
    [claimed] = await engine.claimer.claim_known([Claim(executor_id=executor, hints=refs, poll=False, limit=9)])
    return claimed.grants, claimed.left is not None


async def report_known(engine: Engine, executor: UUID, *stretches: pb.Stretch) -> list[pb.StretchResult | None]:
    """What is accepted from memory."""
    done = await engine.completer.complete_known([Report(executor_id=executor, stretch=one) for one in stretches])
    assert all(result is None or isinstance(result, pb.StretchResult) for result in done.results)
    return list(done.results)  # type: ignore[arg-type]


async def history(engine: Engine, run: UUID) -> list[tuple[int, int | None, str]]:
    rows = await engine.fetch("SELECT seq, step, to_state FROM events WHERE run_id = $1 ORDER BY seq", run)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    [head] = await engine.fetch("SELECT seq FROM runs WHERE run_id = $1", run)
    assert head["seq"] == len(rows)
    return [(row["seq"], row["step"], row["to_state"]) for row in rows]


async def test_a_run_goes_from_its_start_to_its_end_unread(engine: Engine, revision: UUID) -> None:
    run = await engine.start(revision, inputs='{"n": 1}')
    [grant], is_left = await claim_known(engine, ALICE, (run, 0))
    assert not is_left
    assert (grant.inputs_json, grant.trigger_json) == ('{"n": 1}', '{"type": "manual"}')
    [row] = await engine.fetch("SELECT created_at FROM runs WHERE run_id = $1", run)
    assert grant.create_time_us == int(row["created_at"].timestamp() * 1_000_000)
    [first] = await report_known(engine, ALICE, stretch(grant.lease, succeeded(0)))
    assert first is not None
    assert first.next.lease.step == 1
    [last] = await report_known(engine, ALICE, stretch(first.next.lease, succeeded(1)))
    assert last is not None
    assert await engine.run_state(run) == "SUCCEEDED"
    assert len(await history(engine, run)) == 8
    assert len(engine.memory) == 0


async def test_what_was_read_once_is_remembered(engine: Engine, other: Engine, revision: UUID) -> None:
    run = await other.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    [result] = await report_known(engine, ALICE, stretch(grant.lease, succeeded(0)))
    assert result is not None
    times = await engine.fetch(
        "SELECT a.started_at, s.started_at AS claimed FROM attempts a JOIN steps s USING (run_id, step)"
    )
    assert times[0]["started_at"] == times[0]["claimed"]


async def test_a_step_that_another_scheduler_granted_is_not_granted_again(
    engine: Engine, other: Engine, revision: UUID
) -> None:
    run = await engine.start(revision)
    [theirs] = await other.claim(BOB, (run, 0))
    assert await claim_known(engine, ALICE, (run, 0)) == ([], True)
    assert await engine.claim(ALICE, (run, 0)) == []
    assert (await engine.report(BOB, stretch(theirs.lease, succeeded(0)))).kind == RESULT.KIND_ACCEPTED
    await history(engine, run)


async def test_two_schedulers_that_claim_at_once_grant_once(engine: Engine, other: Engine, revision: UUID) -> None:
    runs = [await engine.start(revision) for _ in range(10)]
    refs = [(run, 0) for run in runs]
    ours, theirs = await asyncio.gather(engine.claim(ALICE, *refs), other.claim(BOB, *reversed(refs)))
    assert len(ours) + len(theirs) == len(runs)
    for run in runs:
        assert len(await history(engine, run)) == 4


async def test_a_cancelled_run_is_not_gone_on_with(engine: Engine, other: Engine, revision: UUID) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    assert await other.operators.cancel(run, WHO) is None
    assert await report_known(engine, ALICE, stretch(grant.lease, succeeded(0))) == [None]
    result = await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    assert (result.kind, result.HasField("next")) == (RESULT.KIND_ACCEPTED, False)
    assert await engine.run_state(run) == "CANCELLED"


async def test_a_lease_that_ran_out_is_lost_by_the_clock_of_the_database(engine: Engine, revision: UUID) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    await engine.expire(run)
    before = await history(engine, run)
    assert await report_known(engine, ALICE, stretch(grant.lease, succeeded(0))) == [None]
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0)))).kind == RESULT.KIND_STALE_LEASE
    assert await history(engine, run) == before


async def test_a_lease_of_a_clock_that_was_set_back_is_lost(engine: Engine, revision: UUID) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    await engine.execute(
        "UPDATE steps SET started_at = started_at + interval '1 hour', lease_until = lease_until + interval '1 hour'"
    )
    assert await report_known(engine, ALICE, stretch(grant.lease, succeeded(0))) == [None]
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0)))).kind == RESULT.KIND_STALE_LEASE
    assert await engine.step_states(run) == {0: "RUNNING"}


async def test_a_step_that_was_taken_over_is_not_ended_by_its_first_holder(
    engine: Engine, other: Engine, revision: UUID
) -> None:
    run = await engine.start(revision)
    [lost] = await engine.claim(ALICE, (run, 0))
    await engine.expire(run)
    assert await other.sweeper.expire_leases() == 1
    [taken] = await other.claim(BOB, (run, 0))
    assert (await engine.report(ALICE, stretch(lost.lease, succeeded(0)))).kind == RESULT.KIND_STALE_LEASE
    assert (await engine.report(BOB, stretch(taken.lease, succeeded(0)))).kind == RESULT.KIND_ACCEPTED


async def test_one_run_that_changed_meanwhile_does_not_stop_the_others(
    engine: Engine, other: Engine, revision: UUID
) -> None:
    runs = [await engine.start(revision) for _ in range(3)]
    grants = {UUID(bytes=grant.lease.run_id): grant for grant in await engine.claim(ALICE, *((run, 0) for run in runs))}
    await other.operators.cancel(runs[1], WHO)
    reports = [stretch(grants[run].lease, succeeded(0)) for run in runs]
    first, changed, last = await report_known(engine, ALICE, *reports)
    assert first is not None
    assert last is not None
    assert changed is None
    for run in runs:
        await history(engine, run)


async def test_a_failure_is_left_to_the_database_and_its_clock(engine: Engine, revision: UUID) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    assert await report_known(engine, ALICE, stretch(grant.lease, failed(0))) == [None]
    assert (await engine.report(ALICE, stretch(grant.lease, failed(0)))).kind == RESULT.KIND_ACCEPTED
    assert await engine.run_state(run) == "FAILED"


async def test_outputs_that_only_the_database_has_are_read(engine: Engine) -> None:
    run = await engine.start(await engine.revision(PARALLEL))
    [first] = await engine.claim(ALICE, (run, 0))
    [second] = await engine.claim(BOB, (run, 1))
    assert (await engine.report(ALICE, stretch(first.lease, succeeded(0, '{"status": 200}')))).kind
    report = stretch(second.lease, succeeded(1))
    assert await report_known(engine, BOB, report) == [None]
    result = await engine.report(BOB, report)
    assert result.next.lease.step == 2
    assert [(known.step, known.output_json) for known in result.next.steps] == [(0, '{"status": 200}')]
    await history(engine, run)


async def test_reports_on_one_run_at_the_same_time_are_both_taken(engine: Engine) -> None:
    revision = await engine.revision(PARALLEL)
    for _ in range(5):
        run = await engine.start(revision)
        grants = [*await engine.claim(ALICE, (run, 0)), *await engine.claim(BOB, (run, 1))]
        results = await asyncio.gather(
            *(
                engine.report(executor, stretch(grant.lease, succeeded(grant.lease.step)))
                for executor, grant in zip((ALICE, BOB), grants, strict=True)
            )
        )
        assert [result.kind for result in results] == [RESULT.KIND_ACCEPTED] * 2
        assert sum(result.HasField("next") for result in results) == 1
        await history(engine, run)


async def test_the_same_report_twice_in_one_batch_is_taken_once(engine: Engine, revision: UUID) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    report = stretch(grant.lease, succeeded(0))
    first, again = await report_known(engine, ALICE, report, report)
    assert first is not None
    assert again is None
    assert (await engine.report(ALICE, report)).kind == RESULT.KIND_ALREADY_ACCEPTED


@pytest.mark.parametrize("point", [Point.BEFORE_COMMIT, Point.AFTER_COMMIT])
async def test_after_a_lost_answer_of_the_database_nothing_is_believed(
    engine: Engine, revision: UUID, point: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    report = stretch(grant.lease, succeeded(0))

    async def lose(at: Point, *, raising: type[Exception]) -> None:
        if at is point:
            raise raising

    with monkeypatch.context() as patch:
        patch.setattr(pool, "reach", lose)
        with pytest.raises(Unavailable):
            await engine.report(ALICE, report)
    assert len(engine.memory) == 0
    again = await engine.report(ALICE, report)
    committed = point is Point.AFTER_COMMIT
    assert again.kind == (RESULT.KIND_ALREADY_ACCEPTED if committed else RESULT.KIND_ACCEPTED)
    assert (await engine.report(ALICE, stretch(again.next.lease, succeeded(1)))).kind == RESULT.KIND_ACCEPTED
    assert len(await history(engine, run)) == 8


async def test_a_run_that_somebody_holds_is_left_to_those_who_read(
    database: Database, engine: Engine, revision: UUID
) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    async with database.connect() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", run)
        async with asyncio.timeout(2.0):
            assert await report_known(engine, ALICE, stretch(grant.lease, succeeded(0))) == [None]
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0)))).kind == RESULT.KIND_ACCEPTED


async def test_a_start_that_waits_for_its_twin_is_not_taken_for_done(
    database: Database, engine: Engine, other: Engine, revision: UUID
) -> None:
    """The twin may yet be rolled back."""
    run = engine.new_run(revision)
    async with database.connect("scheduler") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO runs (run_id, workflow, revision_id, state, seq, cause_kind, inputs, trigger)"
            " VALUES ($1, 'demo', $2, 'QUEUED', 1, 'manual', '{}', '{}')",
            run.run_id,
            revision,
        )
        with pytest.raises(Unavailable):
            await other.starter.start([run])
        await transaction.rollback()
    results, hints = await other.starter.start([run])
    assert (len(results), list(hints)) == (1, [(run.run_id, 0)])


async def test_a_start_sent_again_is_not_remembered_as_new(engine: Engine, revision: UUID) -> None:
    run = engine.new_run(revision)
    await engine.starter.start([run])
    [grant] = await engine.claim(ALICE, (run.run_id, 0))
    results, hints = await engine.starter.start([run])
    assert (results[0].created, list(hints)) == (False, [])  # type: ignore[union-attr]
    [result] = await report_known(engine, ALICE, stretch(grant.lease, succeeded(0)))
    assert result is not None


async def test_large_inputs_are_read_again(engine: Engine, revision: UUID) -> None:
    text = '{"text": "' + 20_000 * "x" + '"}'
    run = await engine.start(revision, inputs=text)
    assert await claim_known(engine, ALICE, (run, 0)) == ([], True)
    [grant] = await engine.claim(ALICE, (run, 0))
    assert grant.inputs_json == text


async def test_leases_that_are_being_renewed_do_not_lose_their_steps(
    database: Database, engine: Engine, revision: UUID
) -> None:
    """A heartbeat changes the rows without the runs' locks, so that the statement sees them change under its hands."""
    runs = [await engine.start(revision) for _ in range(3)]
    grants = await engine.claim(ALICE, *((run, 0) for run in runs))
    async with database.connect() as connection, connection.transaction():
        await connection.execute("UPDATE steps SET lease_until = lease_until + interval '1 s'")
        reporting = asyncio.create_task(
            report_known(engine, ALICE, *(stretch(grant.lease, succeeded(0)) for grant in grants))
        )
        await eventually(lambda: _somebody_waits(engine), within=5.0)
    assert None not in await reporting
    for run in runs:
        assert await engine.step_states(run) == {0: "SUCCEEDED", 1: "RUNNING"}
        await history(engine, run)


async def _somebody_waits(engine: Engine) -> None:
    assert await engine.fetch("SELECT 1 FROM pg_locks WHERE NOT granted")


async def test_a_statement_that_passes_by_a_step_writes_nothing(engine: Engine, revision: UUID) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    before = await history(engine, run)
    await engine.execute(
        "CREATE FUNCTION pass_by() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER pass_by BEFORE UPDATE ON steps FOR EACH ROW EXECUTE FUNCTION pass_by()"
    )
    assert await report_known(engine, ALICE, stretch(grant.lease, succeeded(0))) == [None]
    with pytest.raises(WriteConflict):
        await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    assert await history(engine, run) == before
    await engine.execute("DROP TRIGGER pass_by ON steps")
    assert (await engine.report(ALICE, stretch(grant.lease, succeeded(0)))).kind == RESULT.KIND_ACCEPTED


async def test_a_run_that_changes_while_its_lock_is_waited_for_is_read_as_it_is_then(
    database: Database, engine: Engine, other: Engine, revision: UUID
) -> None:
    run = await engine.start(revision)
    [grant] = await engine.claim(ALICE, (run, 0))
    async with database.connect() as connection, connection.transaction():
        await connection.execute("UPDATE runs SET labels = '{}' WHERE run_id = $1", run)
        reporting = asyncio.create_task(other.report(ALICE, stretch(grant.lease, succeeded(0))))
        await eventually(lambda: _somebody_waits(engine), within=5.0)
    assert (await reporting).kind == RESULT.KIND_ACCEPTED
