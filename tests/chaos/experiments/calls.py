"""Every public call with every kind of message, by gRPC and as JSON, through the edge."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from typing import Any
from urllib.parse import quote

import aiohttp
import grpc
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.chaos.experiment import experiment
from tests.chaos.lab import Lab
from tests.chaos.parts.messages import Messages
from tests.chaos.parts.mutation import Mutator
from tests.chaos.world.load import FLAKY, Load
from tests.chaos.world.logs import Logs
from tests.chaos.world.world import World
from tests.support.methods import methods, path_of

_CALLS = 100  #: of each method in each way, at full scale
_CALL_SECONDS = 5.0
_STREAM_SECONDS = 0.3  #: a stream of a run that has not ended goes on
_SHOWN = 5
_BROKEN = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE"})
_VARIABLE = re.compile(r"\{(\w+)(?:=([^}]*))?\}")


@experiment(
    "F59",
    "Every public call with fields that are missing, odd and huge, by gRPC and as JSON",
    threshold="no INTERNAL, no UNKNOWN, no 5xx, every error as JSON; no traceback in a log; runs beside are unharmed",
    seconds=20,
)
async def calls_are_fuzzed(lab: Lab) -> None:
    async with lab.world() as world, lab.load(world, runs=20, workload=FLAKY, at_once=4) as load:
        await load.finished()
        logs = Logs(world)
        findings: list[str] = []
        codes: Counter[str] = Counter()
        messages = Messages(lab.rng, await _known(world, load))
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {world.token}"}) as http:
            for method in methods():
                for _ in range(lab.times(_CALLS)):
                    request = messages.of(method.input_type)
                    code = await _call(world, method, request)
                    codes[code] += 1
                    if code in _BROKEN:
                        findings.append(f"{method.name} answered {code} to {_shown(request)}")
                    findings += await _ask(world, http, lab.rng, method, request, codes)
        lab.injected("calls by gRPC and HTTP", codes.total())
        for code, count in sorted(codes.items()):
            lab.measured(code, count)
        for finding in (*findings[:_SHOWN], *logs.blew_up()[:_SHOWN]):
            lab.expect(False, finding)
        await lab.verify(world, load, final=False)


async def _known(world: World, load: Load) -> list[str]:
    """Names of things that exist, so that messages get past the first check."""
    runs = [f"runs/{told.run_id}" for told in load.acknowledged]
    letters = [letter.name for run in runs for letter in await world.api.dead_letters(run)]
    workflow = f"workflows/{load.name}"
    return [*runs[:5], *letters[:3], workflow, f"{workflow}/webhooks/hook", "secrets/CHAOS_OTHER", load.name, "hook"]


async def _call(world: World, method: MethodDescriptor, request: Message) -> str:
    path = path_of(method)
    answer = GetMessageClass(method.output_type)
    packing: dict[str, Any] = {
        "request_serializer": type(request).SerializeToString,
        "response_deserializer": answer.FromString,
    }
    try:
        if method.server_streaming:
            stream = world.api.channel.unary_stream(path, **packing)
            async for _ in stream(request, metadata=world.api.metadata, timeout=_STREAM_SECONDS):
                pass
        else:
            unary = world.api.channel.unary_unary(path, **packing)
            await unary(request, metadata=world.api.metadata, timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def _ask(
    world: World,
    http: aiohttp.ClientSession,
    rng: random.Random,
    method: MethodDescriptor,
    request: Message,
    codes: Counter[str],
) -> list[str]:
    """The same as JSON, which has mistakes of its own now and then. Returns what is wrong with the answer."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    path = _VARIABLE.sub(lambda found: _filled(found, request), getattr(rule, verb))
    body = _body(rng, request) if rule.body else None
    timeout = aiohttp.ClientTimeout(total=_STREAM_SECONDS if method.server_streaming else _CALL_SECONDS)
    url = f"{world.server}{path[:8000]}"
    try:
        async with http.request(verb.upper(), url, data=body, headers=_JSON, timeout=timeout) as answer:
            text = await answer.text(errors="replace")
    except TimeoutError:
        codes["HTTP stream"] += 1
        return [] if method.server_streaming else [f"{verb} {path[:200]} was not answered"]
    except (aiohttp.ClientError, ValueError):
        return []  # it is not HTTP what this path and body make
    codes[f"HTTP {answer.status}"] += 1
    if answer.status >= 500 and answer.status != 501:
        return [f"{verb} {path[:200]} answered {answer.status} {text[:200]} to {_shown(body)}"]
    return [] if answer.status < 400 or _is_error(text) else [f"{verb} {path[:200]}: {answer.status} {text[:200]!r}"]


_JSON = {"content-type": "application/json"}


def _filled(found: re.Match[str], request: Message) -> str:
    """A path's variable with the field's value: several segments where the template has several."""
    value = str(getattr(request, found[1], ""))
    return quote(value, safe="/" if found[2] else "") or "x"


def _body(rng: random.Random, request: Message) -> bytes:
    try:
        good = json_format.MessageToJson(request)
    except (ValueError, TypeError, json_format.Error):
        good = "{}"
    kind = rng.random()
    if kind < 0.5:
        return good.encode("utf-8", "replace")
    if kind < 0.9:
        return Mutator(rng).text(good).encode("utf-8", "replace")
    return rng.choice((b"", b"[]", b"null", b"{" * 3000, b"\xff\xfe", b'{"inputs": {"a": 1e400}}', rng.randbytes(200)))


def _is_error(text: str) -> bool:
    """Whether this is how the API says what is wrong."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and {"code", "message"} <= found.keys()


def _shown(request: object) -> str:
    return re.sub(r"\s+", " ", str(request))[:300]
