"""The API as `curl` sees it: JSON in, JSON out, errors that say what to do, and a run that is watched live."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

from tests.e2e.stories import Workflows
from tests.support.target import Target

GREET = """
    name: $name
    inputs:
      who: {type: string}
      times: {type: integer, default: 1}
    steps:
      - {id: greet, transform: {value: "hello ${{ inputs.who }}"}}
    output: ${{ steps.greet.output }}
"""


async def post(http: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    """Post JSON; the status and the answer."""
    async with http.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def get(http: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    """Get JSON; the status and the answer."""
    async with http.get(path) as answer:
        return answer.status, await answer.json()


async def ended(http: aiohttp.ClientSession, run: str) -> Any:
    """Watch a run to its end; what the last event says."""
    return [event async for event in watch(http, run)][-1]


async def watch(http: aiohttp.ClientSession, run: str) -> Any:
    """The events of a run as `curl -N` shows them."""
    async with http.get(f"/v1/{run}:watch", headers={"accept": "text/event-stream"}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))["run"]


async def test_a_run_is_started_read_and_listed(http: aiohttp.ClientSession, workflows: Workflows) -> None:
    name = await workflows.apply(GREET)
    status, started = await post(
        http, f"/v1/workflows/{name}:start", {"inputs": {"who": "you"}, "labels": {"by": "curl"}}
    )
    assert status == 200
    assert started["state"] == "STATE_QUEUED"
    assert started["inputs"] == {"who": "you", "times": 1}

    last = await ended(http, started["name"])
    assert (last["state"], last["output"]) == ("STATE_SUCCEEDED", "hello you")
    status, read = await get(http, f"/v1/{started['name']}")
    assert (status, read["output"], read["labels"]) == (200, "hello you", {"by": "curl"})
    assert [(step["id"], step["state"]) for step in read["steps"]] == [("greet", "STATE_SUCCEEDED")]

    _, listed = await get(http, f"/v1/runs?workflow=workflows/{name}&states=STATE_SUCCEEDED")
    assert [run["name"] for run in listed["runs"]] == [started["name"]]
    _, events = await get(http, f"/v1/{started['name']}/events")
    assert [event["sequence"] for event in events["events"]] == [str(n) for n in range(1, len(events["events"]) + 1)]


async def test_a_run_is_watched_live(http: aiohttp.ClientSession, workflows: Workflows, target: Target) -> None:
    gate = target.hold("/slow")
    name = await workflows.apply("""
        name: $name
        steps:
          - {id: call, http: {url: $target/slow}}
    """)
    _, started = await post(http, f"/v1/workflows/{name}:start", {})
    states: list[str] = []
    async with asyncio.timeout(20):
        async for run in watch(http, started["name"]):
            states.append(run["state"])
            if run["state"] == "STATE_RUNNING":
                gate.set()  # only now may it go on: what is shown here is shown while it happens
    assert states[-1] == "STATE_SUCCEEDED"
    assert "STATE_RUNNING" in states


async def test_lists_come_in_pages(http: aiohttp.ClientSession, workflows: Workflows) -> None:
    name = await workflows.apply(GREET)
    started = [(await post(http, f"/v1/workflows/{name}:start", {"inputs": {"who": "x"}}))[1]["name"] for _ in range(5)]
    found: list[str] = []
    token = ""
    for _ in range(3):
        _, page = await get(http, f"/v1/runs?workflow=workflows/{name}&page_size=2&page_token={token}")
        found += [run["name"] for run in page["runs"]]
        token = page["next_page_token"]
    assert token == ""
    assert found == started[::-1]

    status, refused = await get(http, "/v1/runs?page_token=garbage")
    assert (status, refused["details"][0]["reason"]) == (400, "PAGE_TOKEN_INVALID")


async def test_wrong_inputs_are_all_told_at_once(http: aiohttp.ClientSession, workflows: Workflows) -> None:
    name = await workflows.apply(GREET)
    status, refused = await post(http, f"/v1/workflows/{name}:start", {"inputs": {"times": "many", "hwo": "you"}})
    assert status == 400
    assert refused["code"] == 3
    info, bad = refused["details"]
    assert (info["reason"], info["domain"]) == ("INPUTS_INVALID", "taskforge")
    assert info["metadata"]["hint"] == f"see what it takes with: taskforge workflow show {name}"
    told = {violation["field"]: violation["description"] for violation in bad["field_violations"]}
    assert set(told) == {"inputs.who", "inputs.times", "inputs.hwo"}
    assert "who" in told["inputs.hwo"]  # did you mean …


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("GET", "/v1/runs/00000000-0000-7000-8000-000000000000", None, 404, "RUN_NOT_FOUND"),
        ("POST", "/v1/workflows/nobody-knows:start", b"{}", 404, "WORKFLOW_NOT_FOUND"),
        ("GET", "/v1/nothing", None, 404, "ROUTE_NOT_FOUND"),
        ("GET", "/nothing/at/all", None, 404, "ROUTE_NOT_FOUND"),
        ("GET", "/v1/runs?wrokflow=x", None, 400, "REQUEST_INVALID"),
        ("POST", "/v1/workflows/x:start", b'{"inputs": ', 400, "REQUEST_INVALID"),
        ("POST", "/v1/workflows/x:start", b'{"inputs": 7}', 400, "REQUEST_INVALID"),
        ("POST", "/v1/workflows:apply", b"x" * (4 * 1024 * 1024 + 1), 413, "BODY_TOO_LARGE"),
    ],
)
async def test_every_refusal_is_json_with_a_reason(
    method: str, path: str, body: bytes | None, status: int, reason: str, http: aiohttp.ClientSession
) -> None:
    headers = {"content-type": "application/json"} if body else {}
    async with http.request(method, path, data=io.BytesIO(body or b""), headers=headers) as answer:
        assert answer.content_type == "application/json"
        refused = await answer.json()
    assert answer.status == status, refused
    assert refused["message"]
    assert [detail["reason"] for detail in refused["details"] if "reason" in detail] == [reason]


async def test_the_edge_answers_whether_it_is_alive_to_anybody(anyone: aiohttp.ClientSession) -> None:
    async with anyone.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")
