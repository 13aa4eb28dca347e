"""Webhooks: one delivery is one run, however it is repeated, reordered, replayed or interrupted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from taskforge.failpoints import Point
from taskforge.invariants.check import check
from tests.chaos.experiment import experiment
from tests.chaos.history import read_history, read_tickets
from tests.chaos.lab import Lab
from tests.chaos.parts.hook_sender import Answer, HookSender, hook_sender
from tests.chaos.parts.timetable import runs_have_ended
from tests.chaos.world.settings import RECOVERY_SECONDS
from tests.chaos.world.world import World
from tests.support.waiting import eventually

_KILL_POINTS = (Point.REQUEST_PARSED, Point.BEFORE_COMMIT, Point.AFTER_COMMIT, Point.BEFORE_REPLY)
_AT_ONCE = 8
_SHOT_SECONDS = 20.0
_PATIENCE_SECONDS = 60.0


@experiment(
    "F02",
    "Ingest is killed at K1 to K4, and the sender delivers again under the same id",
    threshold="exactly one run for each delivery id",
    seconds=18,
)
async def ingest_is_killed(lab: Lab) -> None:
    async with lab.world() as world:
        name = _name(lab)
        told: dict[str, str] = {}
        async with hook_sender(world, name) as sender:
            stop = asyncio.Event()
            sending = [asyncio.create_task(_send_on(sender, f"{name}-{n}", told, stop)) for n in range(_AT_ONCE)]
            for point in _KILL_POINTS:
                for _ in range(lab.times(12, least=2)):
                    await _more_than(told, len(told))
                    world.shots.arm(point, action="kill", service="ingest")
                    await eventually(lambda: _none_left(world), within=_SHOT_SECONDS)
                    lab.injected(f"kill -9 ingest at {point}")
            await world.settled()
            stop.set()
            await asyncio.gather(*sending)
        await _judge(lab, world, name, told)


async def _send_on(sender: HookSender, prefix: str, told: dict[str, str], stop: asyncio.Event) -> None:
    """Deliver one after the other, each until it is confirmed."""
    number = 0
    while not stop.is_set():
        number += 1
        delivery = f"{prefix}-{number}"

        async def confirmed(delivery: str = delivery) -> Answer:
            answer = await sender.send(delivery)
            assert answer.status == 200, f"{delivery} was answered {answer.status}"
            return answer

        told[delivery] = (await eventually(confirmed, within=_PATIENCE_SECONDS, pause=0.1)).run


async def _more_than(told: dict[str, str], count: int) -> None:
    """Wait until another delivery is confirmed."""

    def assertion() -> None:
        assert len(told) > count, f"nothing is confirmed beyond {count} deliveries"

    await eventually(assertion, within=_PATIENCE_SECONDS)


def _none_left(world: World) -> None:
    assert world.shots.left() == 0, "a shot waits"


# --- repetitions ---------------------------------------------------------------------------------

_COPIES = 100
_MINUTE = 60.0
#: How long ago a delivery was signed, as it says; and whether that is within five minutes. A second is for the way.
_AGES = (
    (0.0, True),
    (4 * _MINUTE + 58, True),
    (-4 * _MINUTE - 58, True),
    (5 * _MINUTE + 1, False),
    (-5 * _MINUTE - 2, False),
    (-10 * _MINUTE, False),
    (86_400.0, False),
    (-86_400.0, False),
)


@experiment(
    "F57",
    "A webhook arrives 100 times at once, thousands out of order, and replayed from the past and the future",
    threshold="one run for each delivery id; what is older or newer than five minutes is 401 and leaves no run",
    seconds=8,
)
async def deliveries_are_repeated(lab: Lab) -> None:
    async with lab.world() as world:
        name = _name(lab)
        told: dict[str, str] = {}
        async with hook_sender(world, name) as sender:
            for number in range(lab.times(20, least=3)):
                delivery = f"{name}-same-{number}"
                answers = await asyncio.gather(*(sender.send(delivery) for _ in range(_COPIES)))
                _expect_one(lab, delivery, answers, told)
                lab.injected("deliveries at once under one id", _COPIES)
            await _out_of_order(lab, sender, name, told)
            await _replays(lab, sender, name, told)
        await _judge(lab, world, name, told)


def _expect_one(lab: Lab, delivery: str, answers: Iterable[Answer], told: dict[str, str]) -> None:
    """All are confirmed as the same run, one of them as the first."""
    found = list(answers)
    statuses, runs = Counter(answer.status for answer in found), {answer.run for answer in found}
    verdicts = Counter(answer.verdict for answer in found)
    lab.expect(set(statuses) == {200}, f"{delivery} was answered {dict(statuses)}")
    lab.expect(len(runs) == 1, f"{delivery} was confirmed as {len(runs)} runs")
    lab.expect(verdicts["accepted"] == 1, f"{delivery} was accepted {verdicts['accepted']} times")
    told[delivery] = runs.pop()


async def _out_of_order(lab: Lab, sender: HookSender, name: str, told: dict[str, str]) -> None:
    """Each delivery thrice, all of them shuffled, many at once."""
    count = lab.times(1000)
    order = [f"{name}-mixed-{number}" for number in range(count)] * 3
    lab.rng.shuffle(order)
    answers: dict[str, list[Answer]] = {}
    waiting = iter(order)

    async def worker() -> None:
        for delivery in waiting:
            answers.setdefault(delivery, []).append(await sender.send(delivery))

    await asyncio.gather(*(worker() for _ in range(32)))
    for delivery, found in answers.items():
        _expect_one(lab, delivery, found, told)
    lab.injected("deliveries out of order", len(order))


async def _replays(lab: Lab, sender: HookSender, name: str, told: dict[str, str]) -> None:
    for ago, is_fresh in _AGES:
        delivery = f"{name}-aged-{ago:g}"
        answer = await sender.send(delivery, ago=ago)
        wanted = 200 if is_fresh else 401
        lab.expect(answer.status == wanted, f"signed {ago:g} s ago: answered {answer.status}, not {wanted}")
        lab.injected("deliveries signed at another time")
        if is_fresh:
            told[delivery] = answer.run
            again = await sender.send(delivery, ticket="other", ago=ago / 2)
            lab.expect(again.run == answer.run and again.verdict == "duplicate", f"the replay was {again}")


# --- common --------------------------------------------------------------------------------------


def _name(lab: Lab) -> str:
    return f"{lab.outcome.id.lower()}-{lab.outcome.seed}-{lab.rng.getrandbits(32):08x}"


async def _judge(lab: Lab, world: World, name: str, told: dict[str, str]) -> None:
    """Exactly the confirmed runs exist, one a delivery, and they come to their end."""
    await runs_have_ended(world, name, within=RECOVERY_SECONDS + 0.05 * len(told))
    async with world.database() as connection:
        tickets = await read_tickets(connection, name)
        history = await read_history(connection, name)
    made = Counter(tickets.values())
    doubled = [ticket for ticket, count in made.items() if count > 1]
    lab.expect(not doubled, f"{len(doubled)} deliveries made several runs: {doubled[:3]}")
    known = {str(run_id) for run_id in tickets}
    lost = [delivery for delivery, run in told.items() if run not in known]
    lab.expect(not lost, f"{len(lost)} confirmed runs are lost: {lost[:3]}")
    strays = set(made) - set(told)
    lab.expect(not strays, f"{len(strays)} runs belong to no confirmed delivery: {sorted(strays)[:3]}")
    lab.outcome.violations += [str(violation) for violation in check(history)]
    lab.outcome.runs += len(tickets)
    lab.measured("deliveries confirmed", len(told))
