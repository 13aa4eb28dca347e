"""`acks`: how many triggers a second are accepted, each durable before it is answered, while runs go on beside them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from taskforge.security.signatures import sign
from taskforge.security.webhook_schemes import scheme_named
from tests.bench import http1
from tests.bench.figures import combined, p50_p99_ms
from tests.bench.lines import Line, open_lines, start_of
from tests.bench.load import as_fast_as_answered
from tests.bench.options import Options
from tests.bench.runs import all_ended, apply
from tests.bench.systems import System
from tests.support.api import Api

_TRIGGERS = 3000  #: in a repetition
_WARM_UP = 200
_SCHEME = scheme_named("github")
_SECRET = "nobody knows it"
_WORKFLOW = "bench-acks"
_SOURCE = f"""
name: {_WORKFLOW}
triggers:
  - id: hook
    webhook: {{verify: {{scheme: github, secret: BENCH_HOOK}}}}
steps:
  - id: note
    transform: {{value: 1}}
"""


async def acks(system: System, options: Options) -> dict[str, Any]:
    """Measure both doors."""
    api = Api(system.server, system.token)
    await api.set_secret("BENCH_HOOK", _SECRET)
    await apply(system, _SOURCE)
    path = await api.hook_path(_WORKFLOW)
    await api.close()
    start = start_of(system, _WORKFLOW)
    samples = []
    async with open_lines(system) as lines:
        await _accept(system, lines, [start] * _WARM_UP)
        await _accept(system, lines, _deliveries(system, path, _WARM_UP))
        for _ in range(options.repeat):
            samples.append(
                {
                    "api": await _accept(system, lines, [start] * _TRIGGERS),
                    "webhook": await _accept(system, lines, _deliveries(system, path, _TRIGGERS)),
                }
            )
    return {"triggers": _TRIGGERS, **combined(samples)}


async def _accept(system: System, lines: Sequence[Line], contents: Sequence[bytes]) -> dict[str, Any]:
    began = time.time()
    replies = await as_fast_as_answered(lines, contents)
    seconds = time.time() - began
    row = await all_ended(system, _WORKFLOW, began)
    assert row["succeeded"] == len(contents), f"{row['succeeded']} of {len(contents)} triggers have made a run"
    return {
        "acks_per_s": len(replies) / seconds,
        "ack_ms": p50_p99_ms(reply.answered - reply.asked for reply in replies),
    }


def _deliveries(system: System, path: str, count: int) -> list[bytes]:
    """Webhooks with an id each; the signature is of the body alone."""
    body = b'{"ref": "refs/heads/main"}'
    headers = {"content-type": "application/json"}
    signed = sign(_SCHEME, body, _SECRET, time.time(), message_id="id")
    name = next(name for name, value in signed.items() if value == "id")
    return [
        http1.request("POST", f"{system.server}{path}", {**headers, **signed, name: str(uuid4())}, body)
        for _ in range(count)
    ]
