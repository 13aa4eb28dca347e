"""An executor against a scheduler that says whatever a test wants it to, over real gRPC: nothing it says does harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from taskforge.domain.errors import FailedPrecondition, Unavailable
from taskforge.executor.config import ExecutorConfig
from taskforge.executor.main import Executor
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.internal.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from taskforge.runtime.config import ProcessConfig
from taskforge.runtime.ids import new_id
from taskforge.runtime.internal_auth import internal_authenticator
from taskforge.runtime.server import Server
from taskforge.security.keyring import KeyRing
from tests.chaos.parts import valkey_forgery as forgery
from tests.support.target import Target
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

TOKEN = "t" * 40
KIND = pb.StretchResult.Kind
RENEWAL = pb.RenewLeasesResponse.Result
Say = Callable[[pb.Stretch], pb.StretchResult]

WORKFLOW = """
name: demo
steps:
  - {{id: a, http: {{method: POST, url: "{url}"}}}}
  - {{id: b, log: "${{{{ steps.a.output.status }}}}"}}
  - {{id: c, http: {{method: POST, url: "{url}"}}}}
"""


class Scripted(SchedulerServiceServicer):
    """Grants what it was given and answers as it was told; remembers what it heard."""

    def __init__(self) -> None:
        self.source = ""
        self.grants: list[pb.Grant] = []
        self.claims: list[pb.ClaimStepsRequest] = []
        self.stretches: list[pb.Stretch] = []
        self.lines: list[pb.LogLine] = []
        self.renewed: list[pb.Lease] = []
        self.renewal = RENEWAL.RESULT_RENEWED
        self.refuse_claims = 0
        self.refuse_logs: Exception | None = None
        self.answers: list[Say | Exception] = []  #: to CompleteSteps, in turn; then ACCEPTED

    def grant(self, step: int = 0, *, token: int = 1, run_id: bytes | None = None, seconds: float = 3.0) -> pb.Grant:
        """A lease on a step of the workflow."""
        return pb.Grant(
            lease=pb.Lease(run_id=run_id or new_id().bytes, step=step, token=token),
            attempt=1,
            revision_id=b"r" * 16,
            workflow="demo",
            inputs_json="{}",
            trigger_json="{}",
            lease_milliseconds=int(seconds * 1000),
        )

    async def ClaimSteps(self, request: pb.ClaimStepsRequest, context: Any) -> pb.ClaimStepsResponse:  # noqa: N802
        self.claims.append(request)
        if self.refuse_claims:
            self.refuse_claims -= 1
            raise Unavailable("STORE_UNAVAILABLE", "not now")
        found, self.grants = self.grants[: request.limit], self.grants[request.limit :]
        return pb.ClaimStepsResponse(grants=found)

    async def GetRevisions(self, request: pb.GetRevisionsRequest, context: Any) -> pb.GetRevisionsResponse:  # noqa: N802
        found = (
            [pb.Revision(revision_id=b"r" * 16, workflow="demo", number=1, source=self.source)] if self.source else []
        )
        return pb.GetRevisionsResponse(revisions=found)

    async def RenewLeases(self, request: pb.RenewLeasesRequest, context: Any) -> pb.RenewLeasesResponse:  # noqa: N802
        self.renewed.extend(request.leases)
        return pb.RenewLeasesResponse(results=[self.renewal] * len(request.leases))

    async def AppendLogs(self, request: pb.AppendLogsRequest, context: Any) -> pb.AppendLogsResponse:  # noqa: N802
        if self.refuse_logs is not None:
            raise self.refuse_logs
        self.lines.extend(request.lines)
        return pb.AppendLogsResponse()

    async def CompleteSteps(self, request: pb.CompleteStepsRequest, context: Any) -> pb.CompleteStepsResponse:  # noqa: N802
        self.stretches.extend(request.stretches)
        results = []
        for stretch in request.stretches:
            say = self.answers.pop(0) if self.answers else _accept
            if isinstance(say, Exception):
                raise say
            results.append(say(stretch))
        return pb.CompleteStepsResponse(results=results)


def _accept(stretch: pb.Stretch) -> pb.StretchResult:
    return pb.StretchResult(kind=KIND.KIND_ACCEPTED)


def say(kind: pb.StretchResult.Kind, *, following: pb.Grant | None = None) -> Say:
    error = pb.ItemError(reason="FIELD_INVALID", message="not storable") if kind == KIND.KIND_REJECTED else None
    return lambda stretch: pb.StretchResult(kind=kind, next=following, error=error)


class Stage:
    """A scripted scheduler and a real executor."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.scheduler = Scripted()
        self.target = target
        self.scheduler.source = WORKFLOW.format(url=target.url("/x"))
        self._server = Server(f"unix:{folder}/scheduler.sock", internal_authenticator(TOKEN))
        self._folder = folder
        self._executor: Executor | None = None

    async def start_scheduler(self) -> None:
        add_SchedulerServiceServicer_to_server(self.scheduler, self._server.services)
        await self._server.start()

    async def start(self, *, slots: int = 8, drain_seconds: float = 0.0, redis_url: str = "none") -> None:
        process = ProcessConfig(
            listen=f"unix:{self._folder}/executor.sock",
            metrics_listen="",
            log_format="json",
            log_level="info",
            internal_token=TOKEN,
            drain_seconds=drain_seconds,
        )
        config = ExecutorConfig(
            process=process,
            scheduler=f"unix:{self._folder}/scheduler.sock",
            redis_url=redis_url,
            keyring=None,
            slots=slots,
            http_allow=(),
            http_deny=(),
        )
        self._executor = Executor(config, KeyRing.generate())
        await self._executor.start()

    async def stop(self) -> None:
        if self._executor is not None:
            executor, self._executor = self._executor, None
            await executor.stop()

    async def close(self) -> None:
        await self.stop()
        await self._server.stop(0)

    async def reported(self, count: int = 1) -> list[pb.Stretch]:
        def look() -> list[pb.Stretch]:
            assert len(self.scheduler.stretches) >= count
            return self.scheduler.stretches

        return await eventually(look, within=20)


@pytest.fixture
async def stage(folder: Path, target: Target) -> AsyncIterator[Stage]:
    found = Stage(folder, target)
    await found.start_scheduler()
    yield found
    await found.close()


def kinds(stretch: pb.Stretch) -> list[str]:
    names = pb.StepOutcome.Kind.Name
    return [names(outcome.kind).removeprefix("KIND_") for outcome in (stretch.outcome, *stretch.carried)]


async def test_a_stretch_says_all_that_was_done(stage: Stage) -> None:
    stage.scheduler.grants = [stage.scheduler.grant()]
    await stage.start()
    [stretch] = await stage.reported()
    assert kinds(stretch) == ["SUCCEEDED", "SUCCEEDED"]
    assert stretch.accept_next
    assert sorted(stretch.known) == [0, 1]
    assert stretch.outcome.elapsed_us > 0
    [line] = stage.scheduler.lines
    assert (line.step, line.number, line.message) == (1, 1, "200")
    assert len(stage.target.on("/x")) == 1


async def test_an_answer_that_never_came_is_asked_for_again_with_the_same_words(stage: Stage) -> None:
    stage.scheduler.grants = [stage.scheduler.grant()]
    stage.scheduler.answers = [Unavailable("STORE_UNAVAILABLE", "gone"), Unavailable("STORE_UNAVAILABLE", "gone")]
    await stage.start()
    first, *again = await stage.reported(3)
    assert all(stretch == first for stretch in again)
    assert len(stage.target.on("/x")) == 1


async def test_a_granted_continuation_goes_on_with_what_is_known(stage: Stage) -> None:
    grant = stage.scheduler.grant()
    following = stage.scheduler.grant(2, run_id=grant.lease.run_id)
    stage.scheduler.grants = [grant]
    stage.scheduler.answers = [say(KIND.KIND_ALREADY_ACCEPTED, following=following)]
    await stage.start()
    _, second = await stage.reported(2)
    assert second.lease == following.lease
    assert kinds(second) == ["SUCCEEDED"]
    assert sorted(second.known) == [0, 1, 2]


async def test_a_stale_lease_ends_the_work_without_a_word(stage: Stage) -> None:
    stage.scheduler.grants = [stage.scheduler.grant()]
    stage.scheduler.answers = [say(KIND.KIND_STALE_LEASE, following=stage.scheduler.grant(2))]
    await stage.start()
    await stage.reported()
    await stage.stop()
    assert len(stage.scheduler.stretches) == 1


async def test_a_rejected_stretch_is_reported_shorter_and_then_as_a_failure(stage: Stage) -> None:
    stage.scheduler.grants = [stage.scheduler.grant()]
    stage.scheduler.answers = [say(KIND.KIND_REJECTED), say(KIND.KIND_REJECTED)]
    await stage.start()
    stretches = await stage.reported(3)
    assert [kinds(stretch) for stretch in stretches] == [["SUCCEEDED", "SUCCEEDED"], ["SUCCEEDED"], ["FAILED"]]
    assert stretches[2].outcome.error.kind == "output"
    assert "not storable" in stretches[2].outcome.error.message
    assert not stretches[1].accept_next


async def test_a_scheduler_that_chokes_on_one_stretch_is_given_a_failure_instead(stage: Stage) -> None:
    stage.scheduler.grants = [stage.scheduler.grant(2)]
    stage.scheduler.answers = [RuntimeError("a fault of the scheduler")] * 3
    await stage.start()
    stretches = await stage.reported(4)
    assert [kinds(stretch) for stretch in stretches] == [["SUCCEEDED"]] * 3 + [["FAILED"]]


async def test_logs_are_flushed_first_and_fail_no_step(stage: Stage) -> None:
    stage.scheduler.refuse_logs = FailedPrecondition("LOG_TOO_LARGE", "no")
    stage.scheduler.grants = [stage.scheduler.grant()]
    await stage.start()
    [stretch] = await stage.reported()
    assert kinds(stretch) == ["SUCCEEDED", "SUCCEEDED"]


async def test_a_lost_lease_stops_the_request_and_says_nothing(stage: Stage) -> None:
    stage.target.hold("/x")
    stage.scheduler.renewal = RENEWAL.RESULT_LOST
    stage.scheduler.grants = [stage.scheduler.grant(seconds=0.6)]
    await stage.start(slots=1)
    await eventually(lambda: _at_least(stage.scheduler.renewed, 1))
    stage.scheduler.grants = [stage.scheduler.grant(1, token=5)]  # a pure step: needs the slot that was freed
    [stretch] = await stage.reported()
    assert stretch.lease.step == 1


async def test_a_stop_cancels_the_request(stage: Stage) -> None:
    stage.target.hold("/x")
    stage.scheduler.grants = [stage.scheduler.grant(seconds=0.6)]
    await stage.start()
    await eventually(lambda: _at_least(stage.target.on("/x"), 1))
    stage.scheduler.renewal = RENEWAL.RESULT_STOP
    [stretch] = await stage.reported()
    assert kinds(stretch) == ["CANCELLED"]


async def test_a_stop_before_anything_was_done_is_told_too(stage: Stage) -> None:
    stage.scheduler.source = ""  # keeps the executor from beginning
    stage.scheduler.renewal = RENEWAL.RESULT_STOP
    stage.scheduler.grants = [stage.scheduler.grant(seconds=0.6)]
    await stage.start()
    [stretch] = await stage.reported()
    assert kinds(stretch) == ["CANCELLED"]


async def test_a_busy_lease_is_asked_about_again_soon(stage: Stage) -> None:
    gate = stage.target.hold("/x")
    stage.scheduler.renewal = RENEWAL.RESULT_BUSY
    stage.scheduler.grants = [stage.scheduler.grant(seconds=6)]
    await stage.start()
    started = asyncio.get_running_loop().time()
    await eventually(lambda: _at_least(stage.scheduler.renewed, 4))
    assert asyncio.get_running_loop().time() - started < 5
    gate.set()
    await stage.reported()


async def test_what_is_not_understood_is_handed_back_after_a_while(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskforge.executor.carrier.NOT_HERE_SECONDS", 0.01)
    stage.scheduler.source = "name: demo\nsteps:\n  - {id: a, teleport: {to: mars}}\n"
    stage.scheduler.grants = [stage.scheduler.grant()]
    await stage.start()
    [stretch] = await stage.reported()
    assert kinds(stretch) == ["RELEASED"]
    assert not stretch.accept_next


async def test_a_drain_takes_nothing_more_and_hands_back_the_rest(stage: Stage) -> None:
    stage.target.hold("/x")
    stage.scheduler.grants = [stage.scheduler.grant()]
    await stage.start()
    await eventually(lambda: _at_least(stage.target.on("/x"), 1))
    await stage.stop()
    [stretch] = stage.scheduler.stretches
    assert kinds(stretch) == ["RELEASED"]
    assert not stretch.accept_next


async def test_claims_are_repeated_until_they_are_answered_and_never_ask_for_more_than_fits(stage: Stage) -> None:
    gate = stage.target.hold("/x")
    stage.scheduler.refuse_claims = 2
    stage.scheduler.grants = [stage.scheduler.grant() for _ in range(5)]
    await stage.start(slots=2)
    await eventually(lambda: _at_least(stage.target.on("/x"), 2))
    assert len(stage.scheduler.grants) == 3
    assert all(0 < claim.limit <= 2 and claim.poll for claim in stage.scheduler.claims)
    gate.set()
    await stage.reported(5)


async def test_polls_do_not_run_ahead_of_hints(stage: Stage, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskforge.executor.worker.SAFETY_SECONDS", 600.0)
    async with Redis(unix_socket_path=str(valkey.socket)) as client:
        await forgery.add_unknown(client, count=40)
    stage.scheduler.grants = [stage.scheduler.grant() for _ in range(40)]
    await stage.start(slots=4, redis_url=valkey.url)
    await stage.reported(40)
    hinted = [claim.poll for claim in stage.scheduler.claims if claim.hints]
    assert len(hinted) >= 5
    assert hinted.count(True) <= 1  # the first, if it did not come before any hint


async def test_a_step_that_is_granted_twice_runs_once(stage: Stage) -> None:
    gate = stage.target.hold("/x")
    grant = stage.scheduler.grant()
    stage.scheduler.grants = [grant, grant]
    await stage.start()
    await eventually(lambda: _at_least(stage.target.on("/x"), 1))
    gate.set()
    await stage.reported()
    await stage.stop()
    assert len(stage.target.on("/x")) == 1
    assert len(stage.scheduler.stretches) == 1


def _at_least(found: list[Any], count: int) -> None:
    assert len(found) >= count
