"""Guessing the token: how often one may, and what the answers' times give away."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from urllib.parse import urlsplit

import grpc

from taskforge.gateway.guesses import PER_MINUTE
from taskforge.security import tokens
from taskforge.v1.run_service_pb2 import ListRunsRequest
from taskforge.v1.run_service_pb2_grpc import RunServiceStub
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.rank_test import p_value
from tests.chaos.world.world import World
from tests.support.api import error_of

_AT_ONCE = 50
_CALL_SECONDS = 10.0
_LEAST_P = 0.01
_SAMPLINGS = 3  #: chance alone misses the limit once in a hundred samplings, and thrice in a row never
_WRONG, _THROTTLED = "TOKEN_INVALID", "AUTHENTICATION_THROTTLED"


@experiment(
    "F58",
    "10,000 wrong tokens, 50 at once, with forged addresses; and how long near and far guesses take",
    threshold="20 a minute are told that they are wrong, the right token always works, p > 0.01 in one of 3 samplings",
    seconds=12,
    in_subset=False,
)
async def tokens_are_guessed(lab: Lab) -> None:
    async with lab.world() as world:
        started = time.monotonic()
        answers: Counter[str] = Counter()
        right: list[str] = []
        channel = grpc.aio.insecure_channel(
            urlsplit(world.server).netloc, options=[("grpc.use_local_subchannel_pool", 1)]
        )
        async with channel:
            stub = RunServiceStub(channel)
            left = iter(range(lab.times(10_000)))

            async def worker() -> None:
                for number in left:
                    forged = (("x-forwarded-for", f"198.51.100.{number % 250}"),) if number % 2 else ()
                    answers[await _tried(stub, tokens.generate(), forged)] += 1
                    if number % 100 == 0:
                        right.append(await _tried(stub, world.token))

            await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
            minutes = math.ceil((time.monotonic() - started) / 60) + 1
            lab.injected("wrong tokens", answers.total())
            lab.measured("told that they are wrong", answers[_WRONG])
            lab.measured("guesses a second", answers.total() / (time.monotonic() - started))
            lab.expect(set(answers) <= {_WRONG, _THROTTLED}, f"answers were {dict(answers)}")
            lab.expect(answers[_WRONG] <= PER_MINUTE * minutes, f"{answers[_WRONG]} of {minutes} minutes were answered")
            lab.expect(set(right) == {"OK"}, f"the right token was answered {dict(Counter(right))}")
            await _timing(lab, world, stub)


async def _timing(lab: Lab, world: World, stub: RunServiceStub) -> None:
    """A guess that is right but for its last letter against one that is wrong from the first."""
    found = []
    for _ in range(_SAMPLINGS):
        near: list[float] = []
        far: list[float] = []
        kinds = [near, far] * lab.times(4000, least=400)
        lab.rng.shuffle(kinds)
        for kind in kinds:
            token = _almost(world.token) if kind is near else tokens.generate()
            started = time.perf_counter()
            await _tried(stub, token.ljust(len(world.token), "0"))
            kind.append(time.perf_counter() - started)
        lab.injected("guesses with a stop-watch", len(kinds))
        found.append(p_value(near, far))
        if found[-1] > _LEAST_P:
            break
    lab.measured("p of near against far", max(found))
    lab.expect(max(found) > _LEAST_P, f"near and far guesses take different times: p {found}")


def _almost(token: str) -> str:
    return token[:-1] + ("0" if token[-1] != "0" else "1")


async def _tried(stub: RunServiceStub, token: str, more: tuple[tuple[str, str], ...] = ()) -> str:
    """`OK`, or the reason of the refusal."""
    metadata = (("authorization", f"Bearer {token}"), *more)
    try:
        await stub.ListRuns(ListRunsRequest(page_size=1), metadata=metadata, timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        told = error_of(error)
        return told.reason or told.code
    return "OK"
