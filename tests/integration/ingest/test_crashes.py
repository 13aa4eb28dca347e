"""Ingest as a process that dies: senders come again with the same ids, and each id has one run in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest

from taskforge.failpoints import Point
from taskforge.v1.hook_service_pb2_grpc import HookServiceStub
from tests.chaos.parts.shots import Shots
from tests.support.gateway import Api
from tests.support.hooks import DEPLOY, SECRET, Sender, run_of, set_secret, webhook_path
from tests.support.services import Services
from tests.support.waiting import eventually

_IDS = [f"delivery-{number}" for number in range(60)]
_KILLS = 3


@pytest.fixture
def shots(services: Services) -> Shots:
    """What befalls the scheduler."""
    return Shots(services.folder / "shots")


@pytest.fixture
async def api(services: Services, shots: Shots) -> AsyncIterator[Api]:
    """The public API of a real gateway."""
    services.start("scheduler", TASKFORGE_TEST_FAILPOINTS=str(shots.folder))
    services.start("gateway")
    async with grpc.aio.insecure_channel(services.address("gateway")) as channel:
        api = Api(channel, services.admin_token)
        await set_secret(api, "GH_HOOK", SECRET)
        await api.apply(DEPLOY)
        yield api


async def test_each_id_has_one_run_however_often_ingest_is_killed(services: Services, api: Api) -> None:
    path = await webhook_path(api)
    acknowledged: dict[str, set[object]] = {name: set() for name in _IDS}
    answers: list[str] = []

    async def send_until_it_is_taken(sender: Sender, name: str) -> None:
        async def taken() -> None:
            try:
                answer = await sender.post(headers={"x-github-delivery": name})
            except grpc.aio.AioRpcError as error:
                raise AssertionError(error.details()) from error
            acknowledged[name].add(run_of(answer))
            answers.append(answer.verdict)

        for _ in range(3):
            await eventually(taken, within=60)

    process = services.start("ingest").process
    async with grpc.aio.insecure_channel(
        services.address("ingest"), options=[("grpc.max_reconnect_backoff_ms", 200)]
    ) as channel:
        sender = Sender(HookServiceStub(channel), path, services.database)
        sending = asyncio.gather(*(send_until_it_is_taken(sender, name) for name in _IDS))
        for kill in range(1, _KILLS + 1):
            await eventually(partial(_at_least, answers, kill * 40), within=30)
            process.kill()
            process = (await asyncio.to_thread(services.start, "ingest")).process
        await sending

        async def settled() -> None:
            assert set(await sender.verdicts()) <= {"ACCEPTED", "DUPLICATE"}

        await eventually(settled, within=30)
        runs = await sender.runs()
    assert {len(found) for found in acknowledged.values()} == {1}
    assert {run for found in acknowledged.values() for run in found} == set(runs)


async def test_a_scheduler_that_fails_after_its_commit_makes_no_second_run(
    services: Services, api: Api, shots: Shots
) -> None:
    services.start("ingest")
    async with grpc.aio.insecure_channel(services.address("ingest")) as channel:
        sender = Sender(HookServiceStub(channel), await webhook_path(api), services.database)
        shots.arm(Point.BEFORE_REPLY, action="raise", service="scheduler")
        refusal = await sender.refused(headers={"x-github-delivery": "one"})
        assert refusal.reason == "SCHEDULER_UNAVAILABLE"  # which says that nobody knows
        assert len(shots.fired()) == 1
        again = await sender.post(headers={"x-github-delivery": "one"})
        assert set(await sender.runs()) == {run_of(again)}


async def test_a_term_signal_lets_what_was_taken_end(services: Services, api: Api) -> None:
    process = services.start("ingest").process
    async with grpc.aio.insecure_channel(services.address("ingest")) as channel:
        sender = Sender(HookServiceStub(channel), await webhook_path(api), services.database)
        answers = await asyncio.gather(*(sender.post() for _ in range(20)))
        assert await asyncio.to_thread(process.terminate) == 0
        # Nothing is left for the next one to sweep up.
        assert await sender.verdicts() == ["ACCEPTED"] * len(answers)
        assert set(await sender.runs()) == {run_of(answer) for answer in answers}


async def test_every_fault_of_the_environment_is_told_at_once(services: Services) -> None:
    service = services.start(
        "ingest", ready=False, TASKFORGE_DATABASE_URL="", TASKFORGE_KEYRING_FILE="/none", TASKFORGE_SCHEDULER="here"
    )
    assert await asyncio.to_thread(service.process.wait) == 2
    told = service.process.output()
    assert "3 faults" in told
    for name in ("TASKFORGE_DATABASE_URL", "TASKFORGE_KEYRING_FILE", "TASKFORGE_SCHEDULER"):
        assert name in told


def _at_least(answers: list[str], count: int) -> None:
    assert len(answers) >= count
