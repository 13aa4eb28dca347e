"""Executors and schedulers that die, freeze or leave; runs that are told to stop: every run ends all the same."""

from __future__ import annotations

import asyncio
import signal
from uuid import UUID

from taskforge.bus.producer import HintProducer
from taskforge.runtime.ids import new_id
from tests.integration.executor.conftest import Floor
from tests.support.target import Target
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

SLOW = """
name: demo
steps:
  - {{id: a, http: {{method: {method}, url: "{url}"}}, {more}timeout: 60s}}
  - {{id: b, transform: {{value: "${{{{ steps.a.output.status }}}}"}}}}
output: ${{{{ steps.b.output }}}}
"""


def slow(target: Target, *, method: str = "POST", more: str = "") -> str:
    return SLOW.format(url=target.url("/slow"), method=method, more=more)


async def started(target: Target, count: int = 1) -> None:
    """Wait until so many requests are under way."""

    def look() -> None:
        assert len(target.on("/slow")) >= count

    await eventually(look, within=20)


async def outcomes(floor: Floor, run_id: UUID) -> list[str]:
    rows = await floor.fetch("SELECT outcome FROM attempts WHERE run_id = $1 AND step = 0 ORDER BY attempt", run_id)
    return [row["outcome"] for row in rows]


async def test_another_executor_takes_over_from_a_killed_one(floor: Floor, target: Target) -> None:
    gate = target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)
    floor.executor.process.kill()
    floor.start_executor(1)
    await started(target, 2)
    gate.set()
    run = await floor.ended(run_id)
    assert (run.state, run.output) == ("SUCCEEDED", 200)
    assert await outcomes(floor, run_id) == ["UNKNOWN", "SUCCEEDED"]
    assert len({request.headers["idempotency-key"] for request in target.on("/slow")}) == 1
    tokens = [request.headers["taskforge-attempt"].rpartition("token=")[2] for request in target.on("/slow")]
    assert int(tokens[0]) < int(tokens[1])


async def test_a_frozen_executor_comes_back_to_nothing(floor: Floor, target: Target) -> None:
    gate = target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)
    frozen = floor.executor
    frozen.process.send(signal.SIGSTOP)
    floor.start_executor(1)
    await started(target, 2)
    gate.set()
    run = await floor.ended(run_id)
    frozen.process.send(signal.SIGCONT)
    again = await floor.ended(await floor.start_run(await floor.apply(slow(target))))
    assert (run.state, again.state) == ("SUCCEEDED", "SUCCEEDED")
    assert await outcomes(floor, run_id) == ["UNKNOWN", "SUCCEEDED"]


async def test_steps_outlive_several_leases(floor: Floor, target: Target) -> None:
    gate = target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)

    async def has_been_renewed() -> None:
        [row] = await floor.fetch(
            "SELECT lease_until > started_at + interval '7 seconds' AS late FROM steps WHERE run_id = $1", run_id
        )
        assert row["late"]

    await eventually(has_been_renewed, within=20)
    gate.set()
    assert (await floor.ended(run_id)).state == "SUCCEEDED"
    assert await outcomes(floor, run_id) == ["SUCCEEDED"]


async def test_a_cancelled_run_stops_its_request(floor: Floor, target: Target) -> None:
    target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)
    await floor.cancel(run_id)
    run = await floor.ended(run_id, within=10)
    assert (run.state, run.steps["0"]) == ("CANCELLED", "CANCELLED")
    assert await outcomes(floor, run_id) == ["CANCELLED"]


async def test_a_draining_executor_waits_for_its_steps(floor: Floor, target: Target) -> None:
    gate = target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)
    executor = floor.executor
    executor.process.send(signal.SIGTERM)
    await eventually(lambda: _says(executor.process.output(), "service_draining"))
    gate.set()
    assert await asyncio.to_thread(executor.process.wait, within=15) == 0
    floor.start_executor(1)
    assert (await floor.ended(run_id)).state == "SUCCEEDED"
    assert len(target.on("/slow")) == 1


def _says(text: str, word: str) -> None:
    assert word in text


async def test_what_does_not_end_in_time_is_handed_back_unharmed(empty_floor: Floor, target: Target) -> None:
    floor = empty_floor
    floor.start_scheduler(TASKFORGE_LEASE_SECONDS="60")
    executor = floor.start_executor(TASKFORGE_DRAIN_SECONDS="0.2")
    gate = target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)
    assert await asyncio.to_thread(executor.process.terminate) == 0
    gate.set()
    floor.start_executor(1)
    run = await floor.ended(run_id)
    assert run.state == "SUCCEEDED"
    assert await outcomes(floor, run_id) == ["CANCELLED", "SUCCEEDED"]
    [row] = await floor.fetch("SELECT crashes, failures FROM steps WHERE run_id = $1 AND step = 0", run_id)
    assert (row["crashes"], row["failures"]) == (0, 0)


async def test_what_must_not_be_repeated_is_not_handed_back(empty_floor: Floor, target: Target) -> None:
    floor = empty_floor
    floor.start_scheduler(TASKFORGE_LEASE_SECONDS="60")
    executor = floor.start_executor(TASKFORGE_DRAIN_SECONDS="0.2")
    target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target, more="effect: at_most_once, on_unknown: fail, ")))
    await started(target)
    assert await asyncio.to_thread(executor.process.terminate) == 0
    run = await floor.ended(run_id)
    assert (run.state, run.error["kind"]) == ("FAILED", "unknown_outcome")
    assert len(target.on("/slow")) == 1


async def test_a_restarted_scheduler_finds_the_result_delivered(floor: Floor, target: Target) -> None:
    gate = target.hold("/slow")
    run_id = await floor.start_run(await floor.apply(slow(target)))
    await started(target)
    floor.scheduler.process.kill()
    gate.set()
    floor.start_scheduler(TASKFORGE_LEASE_SECONDS="3")
    run = await floor.ended(run_id)
    assert run.state == "SUCCEEDED"
    assert len(target.on("/slow")) <= 2


async def test_without_redis_executors_poll(empty_floor: Floor, target: Target) -> None:
    floor = empty_floor
    floor.start_scheduler(TASKFORGE_REDIS_URL="none")
    floor.start_executor(TASKFORGE_REDIS_URL="none")
    revision = await floor.apply(slow(target))
    for _ in range(3):
        assert (await floor.ended(await floor.start_run(revision), within=5)).state == "SUCCEEDED"


async def test_a_dead_or_frozen_redis_makes_nobody_deaf(floor: Floor, target: Target, valkey: Valkey) -> None:
    revision = await floor.apply(slow(target))
    valkey.process.send(signal.SIGSTOP)
    assert (await floor.ended(await floor.start_run(revision), within=15)).state == "SUCCEEDED"
    valkey.process.send(signal.SIGCONT)
    valkey.flush()
    assert (await floor.ended(await floor.start_run(revision), within=15)).state == "SUCCEEDED"
    valkey.stop()
    assert (await floor.ended(await floor.start_run(revision), within=15)).state == "SUCCEEDED"
    valkey.start()
    assert (await floor.ended(await floor.start_run(revision), within=15)).state == "SUCCEEDED"


async def test_forged_hints_change_nothing(floor: Floor, target: Target, valkey: Valkey) -> None:
    run_id = await floor.start_run(await floor.apply(slow(target)))
    producer = HintProducer(valkey.url)
    await producer.start()
    producer.publish([(new_id(), 0), (run_id, 1), (run_id, 99), (run_id, 0)] * 20)
    await producer.close()
    assert (await floor.ended(run_id)).state == "SUCCEEDED"
    assert (await floor.ended(await floor.start_run(await floor.apply(slow(target))))).state == "SUCCEEDED"
    assert len(target.on("/slow")) == 2


async def test_many_runs_share_executors_without_repeating_anything(floor: Floor, target: Target) -> None:
    floor.start_executor(1, TASKFORGE_EXECUTOR_SLOTS="3")
    revision = await floor.apply(slow(target))
    runs = [await floor.start_run(revision) for _ in range(60)]
    for run_id in runs:
        assert (await floor.ended(run_id)).state == "SUCCEEDED"
    assert len(target.on("/slow")) == 60
