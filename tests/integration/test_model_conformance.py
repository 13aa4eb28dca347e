"""Random walks through the model of the protocol, replayed with the scheduler's own parts over a real database.

After each move both must have granted the same leases, given the same verdict, and hold the same rows.
`TASKFORGE_TEST_WALKS` is the number of walks.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from taskforge.domain.states import RunState
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.language.parse import parse_workflow
from taskforge.runtime.ids import new_id
from taskforge.scheduler.operators import Request
from tests.chaos.model.bounds import Budget, Size, chain
from tests.chaos.model.checker import Label, Move
from tests.chaos.model.protocol import Protocol, known
from tests.chaos.model.rows import MAX_CRASHES, NOBODY, Bug, Grant, Letter, Result
from tests.chaos.model.states import LIVE, POLL, Kind, Message, State
from tests.support.engine import KIND, Engine, failed, stretch, succeeded
from tests.support.postgres import Database

WALKS = int(os.environ.get("TASKFORGE_TEST_WALKS", "200"))
LENGTH = 60

SIZE = Size(
    steps=2,
    budget=Budget(
        timeouts=4,
        pauses=2,
        deaf=1,
        crashes=2,
        failures=3,
        refusals=1,
        releases=1,
        slow_sweeps=2,
        cancels=1,
        redrives=2,
    ),
)
CHAIN = """
name: chain
steps:
  - id: step0
    http: {method: POST, url: "http://localhost/"}
    retry: {max_attempts: 2, initial: 1h, max: 1h, jitter: none, on: [5xx]}
  - id: step1
    http: {method: POST, url: "http://localhost/"}
    retry: {max_attempts: 2, initial: 1h, max: 1h, jitter: none, on: [5xx]}
"""
WHO = Request(actor="tester")
_ENDS = {
    "ends the lease of": "UPDATE steps SET lease_until = clock_timestamp() WHERE run_id = $1 AND step = $2",
    "ends the backoff of": "UPDATE steps SET due_at = clock_timestamp() WHERE run_id = $1 AND step = $2",
}
_RENEWAL = pb.RenewLeasesResponse

#: One row, as the model and as the database have it.
Seen = tuple[Any, ...]
NO_ROW: Seen = ("PENDING", 0, 0, 0, 0, 0, None, False, False, False)


def outcome(step: int, result: Result) -> pb.StepOutcome:
    match result:
        case Result.SUCCEEDED:
            return succeeded(step)
        case Result.FAILED:
            return failed(step, status=503)
        case Result.UNSTORABLE:
            return failed(step, kind="output")
        case Result.CANCELLED:
            return pb.StepOutcome(step=step, kind=KIND.KIND_CANCELLED)
        case Result.RELEASED:
            return pb.StepOutcome(step=step, kind=KIND.KIND_RELEASED)


@dataclass
class Replay:
    """One walk: the model's state, and the real run that follows it."""

    engine: Engine
    connection: Any
    run: UUID
    protocol: Protocol
    state: State
    executors: dict[int, UUID] = field(default_factory=lambda: {name: new_id() for name in LIVE})
    told: Counter[str] = field(default_factory=Counter)

    async def follow(self, move: Move[State]) -> None:
        """Do what the move says, and compare."""
        asked = await self._do(move.label, move.after)
        self.state = move.after
        if asked:
            assert await self._rows() == self._expected_rows()

    async def _do(self, label: Label, after: State) -> bool:
        """Do what the move says; False if it is nothing to the scheduler."""
        match label:
            case ("the net", "delivers", Message(kind=Kind.REPORT) as message):
                await self._report(message)
            case ("the net", "delivers", Message(kind=Kind.CLAIM) as message):
                await self._claim(message)
            case (int(executor), "polls", "at once"):
                await self._claim(Message(Kind.CLAIM, executor, grants=known(self.state, executor)))
            case (int(executor), "claims", int(step), "at once"):
                await self._claim(Message(Kind.CLAIM, executor, hint=step))
            case (int(executor), "crashes"):
                dead = len(LIVE) + SIZE.budget.crashes - self.state.left.crashes
                self.executors[dead], self.executors[executor] = self.executors[executor], new_id()
                return False
            case ("time", what, int(step)):
                await self._let_pass(str(what), step)
            case ("a sweep", _, kind, int()) if after.tables != self.state.tables:
                await self._sweep(str(kind))
            case ("somebody", *wish):
                await self._wish(wish)
            case _:
                return False
        return True

    async def _claim(self, call: Message) -> None:
        hint = None if call.hint == POLL else call.hint
        expected = self.protocol.committed.claim(self.state.tables, call.executor, hint, frozenset(call.grants))
        hints = [] if hint is None else [(self.run, hint)]
        held = [self._lease(grant) for grant in call.grants] if hint is None else None
        grants = await self.engine.claim(self.executors[call.executor], *hints, held=held)
        told = sorted((grant.lease.step, grant.lease.token) for grant in grants)
        assert told == sorted(expected.grants)
        self.told["granted by a claim"] += len(told)

    async def _report(self, call: Message) -> None:
        lease, result = Grant(*call.lease), Result(call.result)
        expected = self.protocol.committed.complete(self.state.tables, call.executor, lease, result)
        accept_next = result is not Result.RELEASED
        report = stretch(self._lease(lease), outcome(lease.step, result), accept_next=accept_next)
        answer = await self.engine.report(self.executors[call.executor], report)
        assert pb.StretchResult.Kind.Name(answer.kind) == f"KIND_{expected.verdict.name}"
        following = Grant(answer.next.lease.step, answer.next.lease.token) if answer.HasField("next") else None
        assert following == expected.following
        self.told[f"{expected.verdict} {result}"] += 1
        self.told["granted along with a verdict"] += following is not None

    async def _let_pass(self, what: str, step: int) -> None:
        await self.connection.execute(_ENDS[what], self.run, step)

    async def _sweep(self, kind: str) -> None:
        sweeper = self.engine.sweeper
        assert await (sweeper.expire_leases() if kind == "expired" else sweeper.queue_due_retries()) == 1
        self.told[f"swept as {kind}"] += 1

    async def _wish(self, wish: list[object]) -> None:
        operators, error = self.engine.operators, None
        match wish:
            case ["cancels the run"]:
                error = await operators.cancel(self.run, WHO)
            case ["retries the run"]:
                error, _ = await operators.retry_run(self.run, WHO)
            case ["redrives", int(step), int(epoch)]:
                letter = await self.connection.fetchval(
                    "SELECT dead_letter_id FROM dead_letters WHERE run_id = $1 AND step = $2 AND epoch = $3",
                    *(self.run, step, epoch),
                )
                error, _ = await operators.redrive(letter, WHO)
        assert error is None
        self.told[str(wish[0])] += 1

    async def renew(self) -> None:
        """Everybody renews everything: who is told that it is lost, and who that the run is to stop?"""
        tables = self.protocol.committed[self.state.tables]
        for executor in LIVE:
            for lease in {task.lease for task in self.state.tasks[executor]}:
                is_good = tables.rows[lease.step].is_leased_by(executor, lease.token)
                stops = tables.run is RunState.CANCELLING
                good = _RENEWAL.RESULT_STOP if stops else _RENEWAL.RESULT_RENEWED
                [told] = await self.engine.renew(self.executors[executor], self._lease(lease))
                assert told == (good if is_good else _RENEWAL.RESULT_LOST)
                self.told[f"renewal {_RENEWAL.Result.Name(told)}"] += 1

    def _lease(self, grant: Grant) -> pb.Lease:
        return pb.Lease(run_id=self.run.bytes, step=grant.step, token=grant.token)

    async def _rows(self) -> tuple[str, list[Seen], list[Letter]]:
        run = await self.connection.fetchval("SELECT state FROM runs WHERE run_id = $1", self.run)
        rows = await self.connection.fetch(
            "SELECT step, state, attempt, failures, crashes, epoch, lease_token, executor_id,"
            " coalesce(lease_until > clock_timestamp(), false), coalesce(due_at <= clock_timestamp(), false),"
            " result_hash IS NOT NULL FROM steps WHERE run_id = $1",
            self.run,
        )
        letters = await self.connection.fetch(
            "SELECT step, epoch, state = 'OPEN' FROM dead_letters WHERE run_id = $1", self.run
        )
        found = {row["step"]: tuple(row)[1:] for row in rows}
        return run, [found.get(step, NO_ROW) for step in range(SIZE.steps)], sorted(Letter(*row) for row in letters)

    def _expected_rows(self) -> tuple[str, list[Seen], list[Letter]]:
        tables = self.protocol.committed[self.state.tables]
        rows = []
        for row in tables.rows:
            view, holder = row.view, None if row.holder == NOBODY else self.executors[row.holder]
            counts = (view.attempt, view.failures, view.crashes, view.epoch, view.token)
            rows.append((view.state, *counts, holder, row.is_leased, row.due, row.result is not None))
        return tables.run, rows, list(tables.letters)


def chosen(moves: Iterator[Move[State]], rng: random.Random) -> Move[State] | None:
    """The next move: a fault one time in three, so that walks come far."""
    all_moves = list(moves)
    fair = [move for move in all_moves if move.is_fair]
    if fair and rng.random() < 2 / 3:
        return rng.choice(fair)
    return rng.choice(all_moves) if all_moves else None


async def walk(replay: Replay, rng: random.Random, remember: Callable[[str], None]) -> None:
    for _ in range(LENGTH):
        move = chosen(replay.protocol.moves(replay.state), rng)
        if move is None:
            return
        remember(replay.protocol.tell(move.label, replay.state, move.after))
        await replay.follow(move)
        if rng.random() < 0.1:
            await replay.renew()


def test_the_model_knows_the_workflow_that_is_replayed() -> None:
    parsed = parse_workflow(CHAIN, filename="chain")
    assert parsed.workflow is not None
    for real, modelled in zip(parsed.workflow.steps, chain(SIZE.steps).steps, strict=True):
        assert (real.needs, real.effect, real.on_unknown) == (modelled.needs, modelled.effect, modelled.on_unknown)
        assert (real.retry.max_attempts, real.retry.on) == (modelled.retry.max_attempts, modelled.retry.on)


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    engine = Engine(database, max_crashes=MAX_CRASHES)
    yield engine
    await engine.close()


async def replay_walks(database: Database, engine: Engine, protocol: Protocol, count: int) -> Counter[str]:
    """Take so many walks, each by its own seed; what was met on them."""
    told = Counter[str]()
    revision = await engine.revision(CHAIN, workflow="chain")
    async with database.connect() as connection:
        for seed in range(count):
            run = await engine.start(revision)
            replay = Replay(engine, connection, run, protocol, protocol.start(), told=told)
            story = [f"walk {seed}"]
            try:
                await walk(replay, random.Random(seed), story.append)
            except AssertionError as error:
                raise AssertionError("\n".join([*story, str(error)])) from error
            # Lest the next walk's polls find them.
            await connection.execute("DELETE FROM steps; DELETE FROM dead_letters; DELETE FROM runs")
    return told


@pytest.mark.timeout(600)
async def test_the_scheduler_does_what_its_model_does(database: Database, engine: Engine) -> None:
    told = await replay_walks(database, engine, Protocol(SIZE), WALKS)
    print(dict(sorted(told.items())))
    assert_everything_was_met(told)


@pytest.mark.parametrize(
    "bug", [Bug.COMPLETE_AFTER_EXPIRY, Bug.TOKEN_STAYS_ON_CLAIM, Bug.RESULT_NOT_REMEMBERED, Bug.GRANT_AGAIN_TO_ANYBODY]
)
async def test_a_model_with_a_mistake_is_told_from_the_scheduler(database: Database, engine: Engine, bug: Bug) -> None:
    with pytest.raises(AssertionError, match="walk"):
        await replay_walks(database, engine, Protocol(SIZE, frozenset({bug})), WALKS)


def assert_everything_was_met(told: Counter[str]) -> None:
    """A walk that meets nothing proves nothing."""
    expected = {
        *(f"accepted {result}" for result in Result),
        *("already_accepted succeeded", "already_accepted failed", "stale_lease succeeded", "stale_lease failed"),
        *("granted by a claim", "granted along with a verdict", "swept as expired", "swept as due"),
        *("cancels the run", "retries the run", "redrives"),
        *("renewal RESULT_RENEWED", "renewal RESULT_LOST", "renewal RESULT_STOP"),
    }
    assert expected <= {what for what, count in told.items() if count}
