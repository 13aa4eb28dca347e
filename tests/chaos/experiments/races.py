"""Two who want different things of the same run at the same moment: schedulers, and operators."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc

from taskforge.failpoints import Point
from taskforge.v1.dead_letter_service_pb2 import DiscardDeadLetterRequest, RedriveDeadLetterRequest
from taskforge.v1.run_service_pb2 import RetryRunRequest
from taskforge.v1.run_service_pb2_grpc import RunServiceStub
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.world.load import HEAD, Load, Workload
from tests.chaos.world.settings import LEASE_SECONDS
from tests.chaos.world.world import World
from tests.support.api import error_of, start_request
from tests.support.waiting import eventually

_FROZEN_SECONDS = 3 * LEASE_SECONDS
_SHOT_SECONDS = 15.0
_DIRECT_RUNS = 10
_CALL_SECONDS = 5.0
_ENDED = "SELECT count(*) FROM runs WHERE run_id = ANY($1::uuid[]) AND ended_at IS NOT NULL"


@experiment(
    "F06",
    "One of two schedulers is frozen for three leases: between its writes and their commit, and at any moment",
    threshold="nothing is written after its fence; meanwhile the other starts runs and ends them",
    seconds=25,
)
async def schedulers_are_frozen(lab: Lab) -> None:
    async with (
        lab.world(schedulers=2, gateways=2) as world,
        lab.load(world, runs=None, at_once=4, pause=0.05) as load,
    ):
        slowest = 0.0
        for _ in range(lab.times(3)):
            for freeze in (_between_write_and_commit, _at_any_moment):
                async with freeze(lab, world) as frozen:
                    lab.injected(f"scheduler frozen {freeze.__name__.strip('_').replace('_', ' ')}")
                    slowest = max(slowest, await _the_other_goes_on(lab, world, load, frozen))
                await world.settled()
        lab.measured("slowest runs of the other s", slowest)
        await load.finished()
        await lab.verify(world, load)


@asynccontextmanager
async def _between_write_and_commit(_lab: Lab, world: World) -> AsyncIterator[str]:
    count = len(world.shots.fired())
    world.shots.arm(Point.BEFORE_COMMIT, action="freeze", service="scheduler", seconds=_FROZEN_SECONDS)

    def hit() -> int:
        fired = world.shots.fired()
        assert len(fired) > count, "no scheduler has come by"
        return fired[-1].pid

    pid = await eventually(hit, within=_SHOT_SECONDS)
    frozen_until = time.monotonic() + _FROZEN_SECONDS
    yield next(name for name, one in world.pids().items() if one == pid)
    await asyncio.sleep(max(0.0, frozen_until - time.monotonic()))


@asynccontextmanager
async def _at_any_moment(lab: Lab, world: World) -> AsyncIterator[str]:
    name = f"scheduler-{lab.rng.randint(1, 2)}"
    world.freeze(name)
    frozen_until = time.monotonic() + _FROZEN_SECONDS
    yield name
    await asyncio.sleep(max(0.0, frozen_until - time.monotonic()))
    world.thaw(name)


async def _the_other_goes_on(lab: Lab, world: World, load: Load, frozen: str) -> float:
    """Start runs by the gateway that knows the other scheduler, and see them end while the first one is frozen."""
    other = 3 - int(frozen.rpartition("-")[2])
    started = time.monotonic()
    prefix = f"{load.name}-beside-{lab.rng.getrandbits(32):08x}"
    run_ids = []
    async with grpc.aio.insecure_channel(world.wiring.address(f"gateway-{other}")) as channel:
        for number in range(_DIRECT_RUNS):
            ticket = f"{prefix}-{number}"
            request = start_request(load.name, {"ticket": ticket}, request_id=ticket)
            call = RunServiceStub(channel).StartRun(request, metadata=world.api.metadata, timeout=_FROZEN_SECONDS)
            run_ids.append(UUID((await call).name.removeprefix("runs/")))

    async def ended() -> None:
        async with world.database() as connection:
            count = await connection.fetchval(_ENDED, run_ids)
        assert count == _DIRECT_RUNS, f"{count} of {_DIRECT_RUNS} runs have ended while {frozen} was frozen"

    left = _FROZEN_SECONDS - (time.monotonic() - started)
    try:
        await eventually(ended, within=left, pause=0.1)
    except AssertionError as error:
        lab.expect(False, str(error))
    return time.monotonic() - started


# --- operators --------------------------------------------------------------------------------------

#: Fails as often as not and is not retried, so that there is always something to redrive.
_CONTESTED = Workload(
    source=HEAD
    + """
  - id: look
    http: {{url: "{ledger}/look?do=random_5xx&chance=0.4&delay=0.1&ticket=${{{{ inputs.ticket }}}}"}}
    retry: {{max_attempts: 2, backoff: constant, initial: 100ms, jitter: none, on: [5xx]}}
  - id: beside
    needs: []
    http: {{url: "{ledger}/look?delay=0.2&ticket=${{{{ inputs.ticket }}}}"}}
  - id: notify
    needs: [look, beside]
    http:
      method: POST
      url: "{ledger}/notify?do=random_5xx&chance=0.4&delay=0.1&ticket=${{{{ inputs.ticket }}}}"
      json: {{ticket: "${{{{ inputs.ticket }}}}"}}
    retry: {{max_attempts: 1}}
""",
    callers={"look": 0, "beside": 1, "notify": 2},
    keyed=frozenset({"notify"}),
    expected=frozenset({"SUCCEEDED", "FAILED", "CANCELLED"}),
)
_KILLED_AT = {
    Point.REQUEST_PARSED: "gateway",
    Point.BEFORE_COMMIT: "scheduler",
    Point.AFTER_COMMIT: "scheduler",
    Point.BEFORE_REPLY: "gateway",
    Point.DUE_SELECTED: "scheduler",
    Point.MID_SWEEP: "scheduler",
    Point.TIMER_PROMOTED: "scheduler",
    Point.HINT_READ: "executor",
    Point.CLAIM_COMMITTED: "scheduler",
    Point.EFFECT_SENT: "executor",
    Point.EFFECT_DONE: "executor",
    Point.COMPLETION_COMMITTED: "scheduler",
    Point.BEFORE_ACK: "executor",
    Point.RENEWING: "executor",
}
_RUNS_BETWEEN = 8  #: starts from one kill to the next
_NEWEST = 30  #: runs among which operators choose: those under way, and those that have just ended
_BROKEN = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
_Act = Callable[["_Operators", UUID, int], Awaitable[str]]


@experiment(
    "F64",
    "Runs are cancelled, retried, redriven and discarded while they end, and services die at each kill point",
    threshold="no violation, above all of I6, I18 and I21; no untyped error",
    seconds=25,
)
async def operators_race(lab: Lab) -> None:
    plan = list(_KILLED_AT)
    lab.rng.shuffle(plan)
    async with lab.world() as world, lab.load(world, runs=None, workload=_CONTESTED, at_once=4, pause=0.05) as load:
        operators = _Operators(lab, world, load)
        working = [asyncio.create_task(operators.work(number)) for number in range(3)]
        try:
            for point in plan[: lab.times(len(plan), least=6)]:
                await _kill(world, point)
                lab.injected(f"kill -9 {_KILLED_AT[point]} at {point}")
                await load.reached(len(load.acknowledged) + _RUNS_BETWEEN)
            await eventually(operators.have_done_everything, within=60.0)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
        await load.finished()
        await lab.verify(world, load)
        for what, count in operators.answers.items():
            lab.measured(what, count)
            lab.expect(what.rpartition(" ")[2] not in _BROKEN, f"{count} times {what}")


async def _kill(world: World, point: Point) -> None:
    count = len(world.shots.fired())
    world.shots.arm(point, action="kill", service=_KILLED_AT[point])

    def hit() -> None:
        assert len(world.shots.fired()) > count, f"nobody has come by {point}"

    await eventually(hit, within=_SHOT_SECONDS)


class _Operators:
    """People at work on one load, without knowing of each other."""

    def __init__(self, lab: Lab, world: World, load: Load) -> None:
        self._rng = lab.rng
        self._world = world
        self._load = load
        self.answers: Counter[str] = Counter()

    async def work(self, number: int) -> None:
        """Do one thing after the other, some of them twice at the same moment."""
        while True:
            newest = list(self._load.acknowledged)[-_NEWEST:]
            if newest:
                told = self._rng.choice(newest)
                acts = self._rng.choices(_ACTS, k=self._rng.choice([1, 1, 2]))
                await asyncio.gather(*(self._tried(act, told.run_id, number) for act in acts))
            await asyncio.sleep(self._rng.uniform(0.0, _REST_SECONDS))

    def have_done_everything(self) -> None:
        """Each kind of thing has been done at least once."""
        done = {what.partition(" ")[0] for what in self.answers if what.endswith(" done")}
        assert len(done) == len(_ACTS), f"operators could only {sorted(done)}"

    async def cancel(self, run_id: UUID, number: int) -> str:
        """Stop a run."""
        process = 1000 + number  # its own, so that the history tells operators from callers
        return "done" if await self._load.driver.cancel(run_id, key=str(run_id), process=process) else "refused"

    async def retry(self, run_id: UUID, _number: int) -> str:
        """Run all that failed again."""
        await self._world.api.call(self._world.api.runs.RetryRun, RetryRunRequest(name=f"runs/{run_id}"))
        return "done"

    async def redrive(self, run_id: UUID, _number: int) -> str:
        """Run one failed step again."""
        return await self._close(run_id, self._world.api.letters.RedriveDeadLetter, RedriveDeadLetterRequest)

    async def discard(self, run_id: UUID, _number: int) -> str:
        """Close a dead letter."""
        return await self._close(run_id, self._world.api.letters.DiscardDeadLetter, DiscardDeadLetterRequest)

    async def _close(self, run_id: UUID, method: Any, request: Any) -> str:
        letters = await self._world.api.dead_letters(f"runs/{run_id}")
        if not letters:
            return "nothing"
        await self._world.api.call(method, request(name=self._rng.choice(letters).name, comment="by chance"))
        return "done"

    async def _tried(self, act: _Act, run_id: UUID, number: int) -> None:
        try:
            answer = await act(self, run_id, number)
        except grpc.aio.AioRpcError as error:
            answer = error_of(error).code
        self.answers[f"{act.__name__} {answer}"] += 1


_REST_SECONDS = 0.1
_ACTS: tuple[_Act, ...] = (_Operators.cancel, _Operators.retry, _Operators.redrive, _Operators.discard)
