"""Failpoints in real services: what is committed stays, what is asked again happens once, what is lost comes back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from taskforge.domain.errors import Unavailable
from taskforge.failpoints import Action, Point
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from taskforge.runtime.ids import new_id
from tests.chaos.parts.shots import Shots
from tests.integration.executor.conftest import Floor
from tests.support.engine import stretch, succeeded
from tests.support.services import Services
from tests.support.target import Target
from tests.support.waiting import eventually

ONE = """
name: demo
steps:
  - {{id: only, http: {{method: POST, url: "{url}"}}}}
"""
LEASE_SECONDS = 30.0


@pytest.fixture
def shots(folder: Path) -> Iterator[Shots]:
    shots = Shots(folder / "failpoints")
    yield shots
    shots.disarm()


@pytest.fixture
def floor(services: Services, shots: Shots) -> Floor:
    """A scheduler that may be shot at. Leases are long: whatever comes back soon did not wait for one to run out."""
    floor = Floor(services)
    start_scheduler(floor, shots)
    return floor


def start_scheduler(floor: Floor, shots: Shots, lease_seconds: float = LEASE_SECONDS) -> None:
    floor.start_scheduler(TASKFORGE_LEASE_SECONDS=str(lease_seconds), TASKFORGE_TEST_FAILPOINTS=str(shots.folder))


def start_executor(floor: Floor, shots: Shots, *, instance: int = 0, polls: bool = False) -> None:
    settings = {"TASKFORGE_TEST_FAILPOINTS": str(shots.folder)} | ({"TASKFORGE_REDIS_URL": "none"} if polls else {})
    floor.executor = floor.services.start("executor", settings, instance=instance)


async def call(floor: Floor, method: str, request: Any) -> Any:
    peer = floor.services.peer("scheduler")
    return await peer.call(getattr(SchedulerServiceStub(peer.channel), method), request, timeout=10)


def fired(shots: Shots, *points: Point) -> None:
    assert [shot.point for shot in shots.fired()] == list(points)


async def failed_start(floor: Floor, shots: Shots, point: Point) -> pb.StartRun:
    """Start runs until one of them meets the shot: the scheduler's own transactions may come by first."""
    revision = await floor.apply(ONE.format(url="http://127.0.0.1:9/"))
    while True:
        run = pb.StartRun(run_id=new_id().bytes, revision_id=revision.bytes, cause_kind="manual")
        shots.arm(point, Action.RAISE, service="scheduler")
        try:
            await call(floor, "StartRuns", pb.StartRunsRequest(runs=[run]))
        except Unavailable:
            return run


async def exists(floor: Floor, run: pb.StartRun) -> bool:
    return bool(await floor.fetch("SELECT 1 FROM runs WHERE run_id = $1", UUID(bytes=run.run_id)))


async def test_a_commit_whose_answer_is_lost_and_a_second_call_make_one_run(floor: Floor, shots: Shots) -> None:
    run = await failed_start(floor, shots, Point.AFTER_COMMIT)
    assert await exists(floor, run)
    [again] = (await call(floor, "StartRuns", pb.StartRunsRequest(runs=[run]))).results
    assert (again.run_id, again.created) == (run.run_id, False)


async def test_an_error_before_the_commit_leaves_nothing_behind(floor: Floor, shots: Shots) -> None:
    run = await failed_start(floor, shots, Point.BEFORE_COMMIT)
    assert not await exists(floor, run)
    [again] = (await call(floor, "StartRuns", pb.StartRunsRequest(runs=[run]))).results
    assert (again.run_id, again.created) == (run.run_id, True)


async def test_a_completion_whose_scheduler_died_before_its_answer_was_accepted(floor: Floor, shots: Shots) -> None:
    await floor.start_run(await floor.apply(ONE.format(url="http://127.0.0.1:9/")))
    executor_id = new_id().bytes
    claim = pb.ClaimStepsRequest(executor_id=executor_id, poll=True, limit=1)
    [grant] = (await call(floor, "ClaimSteps", claim)).grants
    report = pb.CompleteStepsRequest(executor_id=executor_id, stretches=[stretch(grant.lease, succeeded(0))])
    shots.arm(Point.COMPLETION_COMMITTED, service="scheduler")
    with pytest.raises(Unavailable):
        await call(floor, "CompleteSteps", report)
    assert await asyncio.to_thread(floor.scheduler.process.wait) == -signal.SIGKILL

    start_scheduler(floor, shots)
    [result] = (await call(floor, "CompleteSteps", report)).results

    assert result.kind == pb.StretchResult.KIND_ALREADY_ACCEPTED
    fired(shots, Point.COMPLETION_COMMITTED)


async def test_a_run_whose_executor_died_after_its_effect_ends_elsewhere(
    services: Services, shots: Shots, target: Target
) -> None:
    floor = Floor(services)
    start_scheduler(floor, shots, lease_seconds=3.0)
    shots.arm(Point.EFFECT_DONE, service="executor")
    start_executor(floor, shots)
    run_id = await floor.start_run(await floor.apply(ONE.format(url=target.url("/effect"))))
    assert await asyncio.to_thread(floor.executor.process.wait, within=20) == -signal.SIGKILL
    assert await floor.steps(run_id) == {"0": "RUNNING"}

    start_executor(floor, shots, instance=1)

    assert (await floor.ended(run_id)).state == "SUCCEEDED"
    keys = [request.headers["idempotency-key"] for request in target.on("/effect")]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    fired(shots, Point.EFFECT_DONE)


@pytest.mark.parametrize(
    ("point", "service"),
    [
        (Point.CLAIM_COMMITTED, "scheduler"),
        (Point.CLAIM_COMMITTED, "executor"),
    ],
)
@pytest.mark.parametrize("polls", [False, True], ids=["hints", "polls"])
async def test_a_lost_answer_to_a_claim_strands_nothing(
    floor: Floor, shots: Shots, target: Target, point: Point, service: str, polls: bool
) -> None:
    run_ids = [await started(floor, target) for _ in range(3)]
    shots.arm(point, Action.RAISE, service=service)
    start_executor(floor, shots, polls=polls)

    for run_id in run_ids:
        assert (await floor.ended(run_id, within=LEASE_SECONDS / 2)).state == "SUCCEEDED"

    assert len(target.on("/effect")) == 3
    outcomes = await floor.fetch("SELECT outcome, attempt FROM attempts")
    assert [tuple(row) for row in outcomes] == [("SUCCEEDED", 1)] * 3
    fired(shots, point)


async def started(floor: Floor, target: Target) -> UUID:
    return await floor.start_run(await floor.apply(ONE.format(url=target.url("/effect"))))


async def test_what_an_executor_gave_up_after_its_effect_is_not_begun_again_under_the_same_lease(
    services: Services, shots: Shots, target: Target
) -> None:
    floor = Floor(services)
    start_scheduler(floor, shots, lease_seconds=3.0)
    shots.arm(Point.EFFECT_DONE, Action.RAISE, service="executor")
    start_executor(floor, shots, polls=True)
    run_id = await started(floor, target)

    assert (await floor.ended(run_id)).state == "SUCCEEDED"

    tokens = [request.headers["taskforge-attempt"].rpartition("token=")[2] for request in target.on("/effect")]
    assert len(tokens) == 2
    assert int(tokens[0]) < int(tokens[1])
    outcomes = await floor.fetch("SELECT outcome FROM attempts WHERE run_id = $1 ORDER BY attempt", run_id)
    assert [row["outcome"] for row in outcomes] == ["UNKNOWN", "SUCCEEDED"]


async def test_every_service_says_aloud_that_it_may_be_shot_at(floor: Floor) -> None:
    def said() -> None:
        assert "failpoints_switched_on" in floor.scheduler.process.output()

    await eventually(said)
