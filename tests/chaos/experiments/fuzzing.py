"""Nonsense: for every parser that reads what strangers write, and for every public call."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from taskforge.bus.streams import decode_hint, encode_hint
from taskforge.domain.cron import CronError, parse_cron
from taskforge.language import cel
from taskforge.language.parse import parse_workflow
from taskforge.security import signatures, webhook_schemes
from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.mutation import Mutator
from tests.chaos.world.load import CHAIN, FLAKY
from tests.chaos.world.logs import Logs
from tests.chaos.world.world import World
from tests.support.places import ROOT

_SLOWEST_SECONDS = 1.0
_SHOWN = 5
_FILES = 2_000  #: of workflows, at full scale
_TEXTS = 5_000  #: of everything that is shorter
_PATHS = 2_000

_EXPRESSIONS = (
    "inputs.a == 1 && steps.b.output.c != null",
    "inputs.list.map(x, x * 2).filter(x, x > 3).size()",
    "inputs.text.matches('^a+$') ? 'yes' : inputs.text.replace('a', 'b')",
    "timestamp('2026-01-01T00:00:00Z') + duration('1h')",
    "has(inputs.a) && inputs['a'] in [1, 2.5, 'x', true, null]",
    "inputs.list.all(x, inputs.list.exists(y, x == y))",
    "'%s is %d'.format([inputs.text, inputs.a])",
)
_CONTEXT: Mapping[str, Any] = {
    "inputs": {"a": 1, "text": "aaa", "list": [1, 2, 3]},
    "steps": {"b": {"output": {"c": 5}}},
    "trigger": {},
    "run": {},
}
_CRONS = ("*/5 * * * *", "0 9 * * MON-FRI", "15 2 29 2 *", "0 0 L * *", "30 6 1-7 * 1#1", "@daily", "1,2,3 4-6 7 8 0")
_BODY = b'{"a": 1}'
_NOW = 1_780_000_000.0
_SECRET = "whsec_c2VjcmV0LW9mLXRoZS1ob29r"
_SCHEMES: tuple[webhook_schemes.Scheme, ...] = (
    webhook_schemes.StandardScheme(),
    webhook_schemes.StripeScheme(),
    webhook_schemes.HmacScheme(header="x-signature"),
    webhook_schemes.HmacScheme(header="x-signature", timestamp_header="x-time", delivery_header="x-id"),
    webhook_schemes.TokenScheme(header="authorization"),
)

#: Reads what it is given; what it raises is a finding.
_Reader = Callable[[], None]


@experiment(
    "F61",
    "Mutated workflows, expressions, cron patterns, webhook headers and hints, each for its parser; paths for the edge",
    threshold="typed errors only, nothing takes longer than a second",
    seconds=18,
)
async def parsers_are_fuzzed(lab: Lab) -> None:
    for name, cases in (
        ("workflow", _workflows(lab.rng, lab.times(_FILES))),
        ("expression", _expressions(lab.rng, lab.times(_TEXTS))),
        ("cron pattern", _crons(lab.rng, lab.times(_TEXTS))),
        ("webhook's headers", _headers(lab.rng, lab.times(_TEXTS))),
        ("hint", _hints(lab.rng, lab.times(_TEXTS))),
    ):
        count, slowest, findings = await asyncio.to_thread(_read_all, cases)
        lab.injected(f"mutated {name}", count)
        lab.measured(f"slowest {name} ms", 1000 * slowest)
        for finding in findings[:_SHOWN]:
            lab.expect(False, f"{name}: {finding}")
    async with lab.world() as world:
        logs = Logs(world)
        answers = await _ask_for_paths(lab, world)
        lab.injected("mutated path", answers.total())
        wrong = {status: count for status, count in answers.items() if not 200 <= status < 500}
        lab.expect(not wrong, f"paths were answered with {wrong}")
        for line in logs.blew_up()[:_SHOWN]:
            lab.expect(False, line)


def _read_all(cases: Iterator[tuple[str, _Reader]]) -> tuple[int, float, list[str]]:
    """How many there were, the processor time of the slowest, and what went wrong."""
    count, slowest, findings = 0, 0.0, []
    for shown, read in cases:
        count += 1
        started = time.thread_time()
        try:
            read()
        except Exception as error:
            findings.append(f"{error!r:.200} for {shown!r:.300}")
        took = time.thread_time() - started
        slowest = max(slowest, took)
        if took > _SLOWEST_SECONDS:
            findings.append(f"{took:.1f} s for {shown!r:.300}")
    return count, slowest, findings


def _workflows(rng: random.Random, count: int) -> Iterator[tuple[str, _Reader]]:
    written = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "deploy" / "examples").glob("*.yaml"))]
    corpus = [*written, *(one.source.format(name="x", ledger="http://example.com") for one in (CHAIN, FLAKY))]
    words = sorted(set(re.findall(r"[a-z_]+:|\$\{\{[^}]*\}\}", "\n".join(corpus))))
    mutator = Mutator(rng, words)
    for _ in range(count):
        text = mutator.text(rng.choice(corpus))
        yield text, partial(_nothing, parse_workflow, text)


def _expressions(rng: random.Random, count: int) -> Iterator[tuple[str, _Reader]]:
    mutator = Mutator(rng, ("inputs", ".map(x, ", "[0]", " + ", " && ", "size(", "steps", "==", "? :"))
    for _ in range(count):
        text = mutator.text(rng.choice(_EXPRESSIONS))
        yield text, partial(_evaluate, text)


def _evaluate(text: str) -> None:
    with suppress(cel.CompileError, cel.ExpressionError):
        expression = cel.compile(text)
        if not expression.costly(_CONTEXT):  # the services never evaluate a costly one themselves
            expression.evaluate(_CONTEXT)


def _crons(rng: random.Random, count: int) -> Iterator[tuple[str, _Reader]]:
    mutator = Mutator(rng, ("MON", "L", "W", "#", "*/", "0-59", " "))
    for _ in range(count):
        text = mutator.text(rng.choice(_CRONS))
        yield text, partial(_next, text)


def _next(text: str) -> None:
    with suppress(CronError):
        parse_cron(text).next_after(datetime(2026, 2, 28, 23, 59))


def _headers(rng: random.Random, count: int) -> Iterator[tuple[str, _Reader]]:
    mutator = Mutator(rng, ("v1,", "t=", "sha256=", "Bearer ", "1780000000"))
    for _ in range(count):
        scheme = rng.choice(_SCHEMES)
        good = signatures.sign(scheme, _BODY, _SECRET, _NOW, message_id="msg-1")
        headers: list[tuple[str, str | bytes]] = [*good.items(), *rng.choices(list(good.items()), k=rng.randint(0, 1))]
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(headers))
            name, value = headers[place]
            text = mutator.text(str(value))
            headers[place] = (name, mutator.data(text.encode()) if rng.random() < 0.3 else text)
        yield f"{headers}", partial(_verify, scheme, headers)


def _verify(scheme: webhook_schemes.Scheme, headers: Sequence[tuple[str, str | bytes]]) -> None:
    signatures.verify(scheme, headers, _BODY, [_SECRET], _NOW)
    key = signatures.dedupe_key(scheme, headers)
    if key is not None:
        key.encode("ascii")


def _hints(rng: random.Random, count: int) -> Iterator[tuple[str, _Reader]]:
    mutator = Mutator(rng)
    for _ in range(count):
        data = mutator.data(encode_hint(UUID(int=rng.getrandbits(128)), rng.randrange(1 << 20)))
        yield data.hex(), partial(_nothing, decode_hint, data)


def _nothing(read: Callable[[Any], object], raw: object) -> None:
    """These say what is wrong without raising anything."""
    read(raw)


async def _ask_for_paths(lab: Lab, world: World) -> Counter[int]:
    """Raw requests, because clients mend paths."""
    mutator = Mutator(lab.rng, ("/v1", "/hooks", ":start", "/taskforge.v1.RunService/GetRun", "..;/", "?a=b", "#"))
    good = (
        "/v1/runs/0198",
        "/v1/workflows/a:start",
        "/hooks/a/b/c",
        "/healthz",
        "/v1/workflows/a/schedules/b",
        "/v1/runs",
    )
    host, port = urlsplit(world.server).hostname, urlsplit(world.server).port
    found: Counter[int] = Counter()
    for _ in range(lab.times(_PATHS)):
        path = re.sub(rb"[\r\n \0]", b"_", mutator.text(lab.rng.choice(good)).encode())
        method = lab.rng.choice((b"GET", b"POST", b"DELETE", b"PUT", b"OPTIONS"))
        head = b"%b %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % (method, path, world.token.encode())
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head + b"content-length: 0\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.readline()
        writer.close()
        found[int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0] += 1
    return found
