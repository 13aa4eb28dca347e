"""Everything that people can ask for, in a random order, while faults go on: the answers are those of a model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from taskforge.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DiscardDeadLetterRequest,
    ListDeadLettersRequest,
    RedriveDeadLetterRequest,
)
from taskforge.v1.run_service_pb2 import CancelRunRequest, GetRunRequest, ListRunsRequest, RetryRunRequest
from taskforge.v1.workflow_service_pb2 import ApplyWorkflowsRequest, DeleteWorkflowRequest, WorkflowSource
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.expectations import OK, Kind, Model, ModelRun
from tests.chaos.world.nemesis import LINKS, Nemesis
from tests.chaos.world.world import World
from tests.support.api import FINAL, error_of, run_state, start_request, step_states
from tests.support.waiting import eventually

_OPERATIONS = 500  #: at full scale
_WORKFLOWS = 4
_BETWEEN_FAULTS = 1.0
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.3
_SHOWN = 8
_LETTER_STATES = (DeadLetter.STATE_OPEN, DeadLetter.STATE_REDRIVEN, DeadLetter.STATE_DISCARDED)
_CALLS = {
    Kind.GOOD: "{ledger}/look",
    Kind.BAD: "{ledger}/look?do=status&status=500",
    Kind.SLOW: "{ledger}/look?delay=2",
}
_SOURCE = """
name: {name}
inputs: {{ticket: {{type: string}}}}
steps:
  - id: call
    http: {{url: "{url}", query: {{ticket: "${{{{ inputs.ticket }}}}"}}}}
    retry: {{max_attempts: 1}}
"""

_Operation = Callable[["_Client"], Awaitable[str]]


@experiment(
    "F60",
    "A random order of apply, start, cancel, retry, redrive, discard, delete and read, under random faults",
    threshold="every answer, and every run at its end, is what a model in memory allows",
    seconds=35,
)
async def operations_are_modelled(lab: Lab) -> None:
    async with lab.world(schedulers=2, executors=2, links=LINKS) as world:
        client = _Client(lab, world)
        await client.apply_all()
        async with _faults(lab, world):
            for _ in range(lab.times(_OPERATIONS, least=150)):
                await client.step()
        await world.reset()
        await client.compare_all()
        lab.outcome.runs += len(client.model.runs)
        for name, count in sorted(client.done.items()):
            lab.measured(name, count)
        for wrong in client.wrong[:_SHOWN]:
            lab.expect(False, wrong)


@asynccontextmanager
async def _faults(lab: Lab, world: World) -> AsyncIterator[None]:
    # Dice of its own: the order of operations must not depend on how long they take.
    nemesis = Nemesis(world, random.Random(lab.rng.getrandbits(32)))

    async def strike() -> None:
        while True:
            lab.injected(await nemesis.strike())
            await asyncio.sleep(_BETWEEN_FAULTS)

    striking = asyncio.create_task(strike(), name="nemesis")
    try:
        yield
        if striking.done():
            striking.result()
    finally:
        striking.cancel()
        await asyncio.gather(striking, return_exceptions=True)


class _Client:
    """Asks until it is answered, and shows each answer to the model."""

    def __init__(self, lab: Lab, world: World) -> None:
        self._rng = lab.rng
        self._ledger = lab.ledger.url
        self._world = world
        self._api = world.api
        self._prefix = f"f60-{lab.rng.getrandbits(32):08x}"
        self.model = Model([f"{self._prefix}-{number}" for number in range(_WORKFLOWS)])
        self.wrong: list[str] = []
        self.done: dict[str, int] = {}

    async def step(self) -> None:
        """Do one random thing."""
        operation = self._rng.choice(_OPERATIONS_TO_CHOOSE)
        self.done[operation.__name__] = self.done.get(operation.__name__, 0) + 1
        if found := await operation(self):
            self.wrong.append(found)

    async def compare_all(self) -> None:
        """Every run at its end, and every list."""
        for run in list(self.model.runs.values()):
            if not run.ended and (found := await self._rest(run)):
                self.wrong.append(found)
        for name in self.model.workflows:
            if found := await self._list(name):
                self.wrong.append(found)

    async def apply_all(self) -> None:
        """Store all definitions."""
        for name in self.model.workflows:
            if found := await self._apply(name):
                self.wrong.append(found)

    async def apply(self) -> str:
        """Store a definition of one kind or the other."""
        return await self._apply(self._rng.choice(list(self.model.workflows)))

    async def _apply(self, name: str) -> str:
        kind = self._rng.choice(list(Kind))
        source = _SOURCE.format(name=name, url=_CALLS[kind].format(ledger=self._ledger))
        request = ApplyWorkflowsRequest(sources=[WorkflowSource(filename="w.yaml", source=source)])
        _, answer, _ = await self._until_answered(self._api.workflows.ApplyWorkflows, request)
        return self.model.applied(name, kind, answer)

    async def delete(self) -> str:
        """Delete a definition, whether or not it is there; its runs go on."""
        name = self._rng.choice(list(self.model.workflows))
        request = DeleteWorkflowRequest(name=f"workflows/{name}", force=True)
        _, answer, perhaps = await self._until_answered(self._api.workflows.DeleteWorkflow, request)
        return self.model.deleted(name, answer, perhaps=perhaps)

    async def start(self) -> str:
        """Start a run, perhaps twice under one request id."""
        name = self._rng.choice(list(self.model.workflows))
        request_id = f"{self._prefix}-{self._rng.getrandbits(32):08x}"
        request = start_request(name, {"ticket": request_id}, request_id=request_id)
        for _ in range(self._rng.choice((1, 1, 2))):
            run, answer, _ = await self._until_answered(self._api.runs.StartRun, request)
            if wrong := self.model.started(name, request_id, answer, run.name if run else ""):
                return wrong
        return ""

    async def cancel(self) -> str:
        """Cancel a run, ended or not."""
        if (run := self._any_run()) is None:
            return ""
        request = CancelRunRequest(name=run.name)
        _, answer, perhaps = await self._until_answered(self._api.runs.CancelRun, request)
        return self.model.cancelled(run, answer, perhaps=perhaps)

    async def wait(self) -> str:
        """Wait until a run has ended."""
        run = self._any_run()
        return await self._rest(run) if run is not None and not run.ended else ""

    async def retry(self) -> str:
        """Retry a run that has ended."""
        if (run := await self._any_rested()) is None:
            return ""
        shown, _, _ = await self._until_answered(self._api.runs.GetRun, GetRunRequest(name=run.name))
        failed = any(state in ("FAILED", "CANCELLED") for state in step_states(shown).values())
        _, answer, perhaps = await self._until_answered(self._api.runs.RetryRun, RetryRunRequest(name=run.name))
        return self.model.retried(run, answer, perhaps=perhaps, has_failed_steps=failed)

    async def redrive(self) -> str:
        """Redrive a dead letter, open or not."""
        run = await self._any_rested(with_letters=True)
        if run is None:
            return ""
        letter = self._rng.choice(sorted(run.letters))
        request = RedriveDeadLetterRequest(name=letter)
        _, answer, perhaps = await self._until_answered(self._api.letters.RedriveDeadLetter, request)
        return self.model.redriven(run, letter, answer, perhaps=perhaps)

    async def discard(self) -> str:
        """Discard a dead letter, open or not."""
        run = await self._any_rested(with_letters=True)
        if run is None:
            return ""
        letter = self._rng.choice(sorted(run.letters))
        request = DiscardDeadLetterRequest(name=letter)
        _, answer, perhaps = await self._until_answered(self._api.letters.DiscardDeadLetter, request)
        return self.model.discarded(run, letter, answer, perhaps=perhaps)

    async def read(self) -> str:
        """List a workflow's runs."""
        return await self._list(self._rng.choice(list(self.model.workflows)))

    def _any_run(self) -> ModelRun | None:
        return self._rng.choice(list(self.model.runs.values())) if self.model.runs else None

    async def _any_rested(self, *, with_letters: bool = False) -> ModelRun | None:
        """A run that has ended; one is waited for if nobody has looked yet."""
        run = self._any_run()
        if run is not None and not run.ended and (wrong := await self._rest(run)):
            self.wrong.append(wrong)
        return run if run is not None and run.ended and (run.letters or not with_letters) else None

    async def _rest(self, run: ModelRun) -> str:
        async def ended() -> str:
            shown, answer, _ = await self._until_answered(self._api.runs.GetRun, GetRunRequest(name=run.name))
            assert shown is not None, f"{run.name} was confirmed, and then {answer}"
            assert run_state(shown) in FINAL, f"{run.name} is {run_state(shown)}"
            return run_state(shown)

        try:
            state = await eventually(ended, within=_PATIENCE_SECONDS, pause=0.1)
        except AssertionError as error:
            return str(error)
        return self.model.rested(run, state, await self._letters(run))

    async def _letters(self, run: ModelRun) -> dict[str, str]:
        found: dict[str, str] = {}
        for state in _LETTER_STATES:  # a list without a state shows the open ones
            request = ListDeadLettersRequest(run=run.name, state=state)
            page, answer, _ = await self._until_answered(self._api.letters.ListDeadLetters, request)
            assert page is not None, f"the list of dead letters answered {answer}"
            found |= {one.name: _letter_state(one) for one in page.dead_letters}
        return found

    async def _list(self, name: str) -> str:
        request = ListRunsRequest(workflow=f"workflows/{name}", page_size=500)
        page, answer, _ = await self._until_answered(self._api.runs.ListRuns, request)
        if page is None:
            return f"the list of {name} answered {answer}"
        listed = {run.name: run_state(run) for run in page.runs}
        wanted = {run.name: run.ended for run in self.model.runs.values() if run.workflow == name}
        wrong = {run: (listed.get(run), state) for run, state in wanted.items() if state and listed.get(run) != state}
        return f"{name} has the runs {listed}, not {wanted}" if wrong or listed.keys() != wanted.keys() else ""

    async def _until_answered(self, method: Any, request: Any) -> tuple[Any, str, bool]:
        """What came back, OK or the reason why not, and whether an earlier try may have been done."""
        perhaps = False

        async def answered() -> tuple[Any, str]:
            nonlocal perhaps
            try:
                return await self._api.call(method, request), OK
            except grpc.aio.AioRpcError as error:
                told = error_of(error)
                if _is_passing(error):
                    perhaps = True
                    raise AssertionError(f"{told.code} {told.message}") from error
                return None, told.reason or told.code

        value, answer = await eventually(answered, within=_PATIENCE_SECONDS, pause=_PAUSE_SECONDS)
        return value, answer, perhaps


_OPERATIONS_TO_CHOOSE: tuple[_Operation, ...] = (
    *(_Client.apply,) * 3,
    _Client.delete,
    *(_Client.start,) * 6,
    *(_Client.cancel,) * 3,
    _Client.wait,
    *(_Client.retry,) * 2,
    *(_Client.redrive,) * 2,
    _Client.discard,
    _Client.read,
)


def _is_passing(error: grpc.aio.AioRpcError) -> bool:
    """Whether nobody can say what became of the call: somebody was away, or somebody in between has answered."""
    told = error_of(error)
    return not told.reason or told.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def _letter_state(letter: DeadLetter) -> str:
    return DeadLetter.State.Name(letter.state).removeprefix("STATE_")
