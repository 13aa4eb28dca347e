"""Runs as callers see them: started once, read whole, found by a few characters."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from taskforge.runtime.ids import new_id
from taskforge.v1 import run_pb2
from taskforge.v1 import run_service_pb2 as pb
from taskforge.v1.workflow_service_pb2 import DeleteWorkflowRequest
from tests.support.engine import Engine, failed, stretch, succeeded
from tests.support.gateway import Api, Platform

RUN = run_pb2.Run.State
STEP = run_pb2.Step.State
CAUSE = run_pb2.Cause.Kind
ALICE = new_id()

CHAIN = """
name: demo
labels: {team: infra, tier: one}
inputs:
  who: {type: string, default: you}
  count: {type: integer, minimum: 1, default: 1}
steps:
  - id: fetch
    http: {method: GET, url: "http://localhost/"}
    retry: {max_attempts: 2, initial: 1ms, max: 1ms, on: [5xx]}
  - id: route
    switch:
      - if: ${{ steps.fetch.output.body == 1 }}
        steps:
          - {id: send, http: {method: POST, url: "http://localhost/"}}
      - else:
        steps:
          - {id: note, log: nothing to do}
output: ${{ steps.fetch.output.body }}
"""
HTTP = 'http: {url: "http://localhost/"}'
FETCH, ROUTE, SEND, NOTE, OUTPUT = range(5)

pytestmark = pytest.mark.usefixtures("scheduler")


def uuid_of(name: str) -> UUID:
    return UUID(name.removeprefix("runs/"))


async def run_through(engine: Engine) -> None:
    """Play the executor for a run of CHAIN, to its end."""
    [grant] = await engine.claim(ALICE)
    first = await engine.report(
        ALICE, stretch(grant.lease, succeeded(FETCH, '{"body": 1}'), succeeded(ROUTE, '{"branch": 0}', branch=0))
    )
    await engine.report(ALICE, stretch(first.next.lease, succeeded(SEND, '{"status": 200}'), succeeded(OUTPUT, "1")))


async def fail_first_step(engine: Engine, *, status: int = 404) -> None:
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, failed(FETCH, status=status, message="not there")))


async def test_a_started_run_is_durable_and_known_without_reading_it_back(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    run = await api.start("demo", {"count": 3}, labels={"tier": "two", "by": "test"})
    assert (run.state, run.workflow, run.revision) == (RUN.STATE_QUEUED, "workflows/demo", 1)
    assert (run.cause.kind, run.cause.id) == (CAUSE.KIND_MANUAL, "admin")
    assert dict(run.inputs.items()) == {"who": "you", "count": 3}
    assert dict(run.labels) == {"team": "infra", "tier": "two", "by": "test"}

    [row] = await engine.fetch("SELECT inputs, trigger FROM runs WHERE run_id = $1", uuid_of(run.name))
    assert json.loads(row["inputs"]) == {"who": "you", "count": 3}
    assert json.loads(row["trigger"]) == {"type": "manual", "id": ""}

    read = await api.run(run.name)
    assert (dict(read.labels), read.inputs, read.cause) == (dict(run.labels), run.inputs, run.cause)
    assert abs(read.create_time.ToMilliseconds() - run.create_time.ToMilliseconds()) < 5_000


async def test_a_run_is_read_with_every_step_of_its_definition(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    name = (await api.start("demo")).name
    waiting = await api.run(name)
    assert [(step.id, step.state) for step in waiting.steps] == [
        ("fetch", STEP.STATE_QUEUED),
        ("route", STEP.STATE_PENDING),
        ("send", STEP.STATE_PENDING),
        ("note", STEP.STATE_PENDING),
    ]
    await run_through(engine)

    run = await api.run(name)
    assert (run.state, run.output.number_value) == (RUN.STATE_SUCCEEDED, 1)
    fetch, route, send, note = run.steps
    assert fetch.name == f"{name}/steps/fetch"
    assert fetch.output.struct_value["body"] == 1
    assert (fetch.attempt, fetch.max_attempts, fetch.reason, fetch.kind) == (1, 2, "succeeded", "http")
    assert (send.parent, send.branch, list(send.needs)) == ("route", 0, ["route"])
    assert (note.state, note.branch, note.reason) == (STEP.STATE_SKIPPED, 1, "branch_not_taken")
    assert [(attempt.number, attempt.outcome) for attempt in fetch.attempts] == [(1, "SUCCEEDED")]
    assert fetch.executor == str(ALICE)
    assert run.sequence > waiting.sequence
    assert run.end_time.ToDatetime() >= run.start_time.ToDatetime() >= run.create_time.ToDatetime()
    assert route.output.struct_value["branch"] == 0


async def test_a_failed_run_names_its_step_and_its_error(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    name = (await api.start("demo")).name
    await fail_first_step(engine)
    run = await api.run(name)
    assert run.state == RUN.STATE_FAILED
    assert (run.error.kind, run.error.status, run.error.step) == ("status", 404, "fetch")
    assert run.steps[0].error.message == "not there"
    assert [attempt.outcome for attempt in run.steps[0].attempts] == ["FAILED"]
    assert [step.state for step in run.steps[1:]] == [STEP.STATE_CANCELLED] * 3


async def test_the_hidden_output_step_is_shown_only_when_it_failed(api: Api, engine: Engine) -> None:
    await api.apply(f"name: demo\nsteps:\n  - {{id: a, {HTTP}}}\noutput: ${{{{ steps.a.output.body.x }}}}")
    name = (await api.start("demo")).name
    assert [step.id for step in (await api.run(name)).steps] == ["a"]
    [grant] = await engine.claim(ALICE)
    await engine.report(ALICE, stretch(grant.lease, succeeded(0, "{}"), failed(1, "expression", message="no such key")))
    run = await api.run(name)
    assert [(step.kind, step.state) for step in run.steps][1] == ("output", STEP.STATE_FAILED)
    assert run.steps[1].error.message == "no such key"


async def test_the_same_request_id_is_the_same_run(api: Api) -> None:
    await api.apply(CHAIN, CHAIN.replace("name: demo", "name: other"))
    first = await api.start("demo", {"who": "me"}, request_id="r1")
    again = await api.start("demo", {"who": "me"}, request_id="r1")
    assert again.name == first.name
    assert again.steps  # an earlier run is read
    assert (await api.start("demo", {"who": "me"}, request_id="r2")).name != first.name
    assert (await api.start("other", {"who": "me"}, request_id="r1")).name != first.name


@pytest.mark.parametrize("change", [{"inputs": {"who": "you"}}, {"labels": {"a": "b"}}])
async def test_a_request_id_for_another_request_is_refused(api: Api, change: dict[str, Any]) -> None:
    await api.apply(CHAIN)
    first = await api.start("demo", {"who": "me"}, request_id="r1")
    request = pb.StartRunRequest(workflow="workflows/demo", request_id="r1", labels=change.get("labels"))
    request.inputs.update(change.get("inputs", {"who": "me"}))
    refusal = await api.refused(api.runs.StartRun, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")
    assert (await api.run(first.name)).state == RUN.STATE_QUEUED


async def test_a_request_id_outlives_a_new_revision(api: Api) -> None:
    await api.apply(CHAIN)
    first = await api.start("demo", {"who": "me"}, request_id="r1")
    await api.apply(CHAIN.replace("default: 1}", "default: 7}"))
    assert (await api.start("demo", {"who": "me"}, request_id="r1")).name == first.name


async def test_a_start_gets_the_revision_that_was_applied_last(api: Api) -> None:
    for number in range(1, 4):
        await api.apply(CHAIN.replace("default: 1}", f"default: {number}}}"))
        run = await api.start("demo")
        assert (run.revision, run.inputs["count"]) == (number, number)


async def test_a_start_at_another_gateway_gets_it_too(api: Api, platform: Platform, folder: Path) -> None:
    elsewhere = replace(platform, folder=folder / "2")
    elsewhere.folder.mkdir()
    async with elsewhere.scheduler(), elsewhere.gateway() as other:
        for number in range(1, 6):
            await api.apply(CHAIN.replace("default: 1}", f"default: {number}}}"))
            assert (await other.start("demo")).revision == number
        await api.call(api.workflows.DeleteWorkflow, DeleteWorkflowRequest(name="workflows/demo", force=True))
        refusal = await other.refused(other.runs.StartRun, pb.StartRunRequest(workflow="workflows/demo"))
        assert refusal.reason == "WORKFLOW_NOT_FOUND"


@pytest.mark.parametrize(
    ("inputs", "fields"),
    [
        ({"count": 0}, ["inputs.count"]),
        ({"count": "three", "who": 3}, ["inputs.count", "inputs.who"]),
        ({"whom": "x"}, ["inputs.whom"]),
        ({"count": 1.5}, ["inputs.count"]),
        ({"count": float("nan")}, ["inputs.count"]),
        ({"who": "a\0b"}, ["inputs.who"]),
    ],
)
async def test_wrong_inputs_are_refused_each_by_its_name(api: Api, inputs: dict[str, Any], fields: list[str]) -> None:
    await api.apply(CHAIN)
    request = pb.StartRunRequest(workflow="workflows/demo")
    request.inputs.update(inputs)
    refusal = await api.refused(api.runs.StartRun, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INPUTS_INVALID")
    assert sorted(refusal.violations) == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": "x" * 256},
        {"request_id": "a\0b"},
        {"labels": {"k" * 64: "v"}},
        {"labels": {"": "v"}},
        {"labels": {"k": "v" * 256}},
        {"labels": {f"k{index}": "v" for index in range(33)}},
        {"workflow": "demo"},
    ],
)
async def test_wrong_fields_of_a_start_are_refused(api: Api, fields: dict[str, Any]) -> None:
    await api.apply(CHAIN)
    request = pb.StartRunRequest(**{"workflow": "workflows/demo", **fields})
    refusal = await api.refused(api.runs.StartRun, request)
    assert (refusal.reason, list(refusal.violations)) == ("FIELD_INVALID", [next(iter(fields))])


async def test_an_unknown_or_deleted_workflow_starts_nothing(api: Api) -> None:
    refusal = await api.refused(api.runs.StartRun, pb.StartRunRequest(workflow="workflows/nope"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "WORKFLOW_NOT_FOUND")


async def test_many_callers_start_at_the_same_time(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    runs = await asyncio.gather(*(api.start("demo", {"count": 1 + index}) for index in range(100)))
    found = await engine.fetch("SELECT run_id, (inputs ->> 'count')::int AS count FROM runs")
    assert {row["run_id"]: row["count"] for row in found} == {
        uuid_of(run.name): 1 + index for index, run in enumerate(runs)
    }


async def test_one_wrong_start_does_not_hurt_its_neighbours(api: Api) -> None:
    await api.apply(CHAIN)
    await api.start("demo", {"who": "me"}, request_id="taken")
    starts = [api.start("demo", {"who": f"n{index}"}, request_id="taken" if index == 5 else "") for index in range(10)]
    results = await asyncio.gather(*starts, return_exceptions=True)
    assert [index for index, result in enumerate(results) if isinstance(result, BaseException)] == [5]


async def test_a_short_id_is_enough_while_it_is_unique(api: Api) -> None:
    await api.apply(CHAIN)
    first, second = (await api.start("demo")).name, (await api.start("demo")).name
    common = next(index for index, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    for text in (first[: common + 1], first[: common + 1].replace("-", ""), first[: common + 1].upper()):
        short = "runs/" + text.partition("/")[2]
        assert (await api.run(short)).name == first

    refusal = await api.refused(api.runs.GetRun, pb.GetRunRequest(name=first[:common]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RUN_ID_AMBIGUOUS")
    assert set(refusal.metadata["candidates"].split(",")) == {first, second}


@pytest.mark.parametrize("run", ["abc", "xyz!", "ffffffff", "00000000-0000-7000-8000-000000000000", "f" * 33])
async def test_an_id_that_does_not_exist_is_not_found(api: Api, run: str) -> None:
    refusal = await api.refused(api.runs.GetRun, pb.GetRunRequest(name=f"runs/{run}"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")


async def list_names(api: Api, **fields: Any) -> list[str]:
    """The names of all pages, three runs a page."""
    names: list[str] = []
    request = pb.ListRunsRequest(page_size=3, **fields)
    while True:
        page = await api.call(api.runs.ListRuns, request)
        names += [run.name for run in page.runs]
        assert len(page.runs) <= 3
        if not page.next_page_token:
            return names
        request.page_token = page.next_page_token


async def test_lists_are_newest_first_and_filter(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN, CHAIN.replace("name: demo", "name: other"))
    failing = (await api.start("demo")).name
    await fail_first_step(engine)
    done = (await api.start("demo")).name
    await run_through(engine)
    queued = [(await api.start("demo")).name for _ in range(4)]
    other = (await api.start("other")).name

    everything = [other, *reversed(queued), done, failing]
    assert await list_names(api) == everything
    assert await list_names(api, workflow="workflows/demo") == everything[1:]
    assert await list_names(api, workflow="workflows/gone") == []
    assert await list_names(api, states=[RUN.STATE_QUEUED]) == everything[:5]
    assert await list_names(api, states=[RUN.STATE_FAILED], workflow="workflows/demo") == [failing]
    assert await list_names(api, states=[RUN.STATE_FAILED, RUN.STATE_SUCCEEDED]) == [done, failing]
    assert await list_names(api, states=[RUN.STATE_SUCCEEDED], workflow="workflows/demo") == [done]

    since = Timestamp()
    since.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    assert await list_names(api, since=since) == []
    since.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    assert await list_names(api, since=since) == everything


async def test_listed_runs_have_neither_steps_nor_data(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    await api.start("demo")
    await run_through(engine)
    [run] = (await api.call(api.runs.ListRuns, pb.ListRunsRequest())).runs
    assert not run.steps
    assert not run.HasField("output")
    assert not run.HasField("inputs")
    assert (run.state, run.revision, dict(run.labels)) == (RUN.STATE_SUCCEEDED, 1, {"team": "infra", "tier": "one"})


async def test_a_page_token_belongs_to_its_filters(api: Api) -> None:
    await api.apply(CHAIN)
    for _ in range(3):
        await api.start("demo")
    token = (await api.call(api.runs.ListRuns, pb.ListRunsRequest(page_size=1))).next_page_token
    request = pb.ListRunsRequest(page_size=2, page_token=token)
    assert len((await api.call(api.runs.ListRuns, request)).runs) == 2
    request.states.append(RUN.STATE_QUEUED)
    assert (await api.refused(api.runs.ListRuns, request)).reason == "PAGE_TOKEN_INVALID"
    events = pb.ListRunEventsRequest(parent=(await list_names(api))[0], page_token=token)
    assert (await api.refused(api.runs.ListRunEvents, events)).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("states", [[RUN.STATE_UNSPECIFIED], [99]])
async def test_states_that_do_not_exist_are_refused(api: Api, states: Any) -> None:
    refusal = await api.refused(api.runs.ListRuns, pb.ListRunsRequest(states=states))
    assert (refusal.reason, list(refusal.violations)) == ("FIELD_INVALID", ["states"])


async def test_events_are_listed_in_order_with_the_names_of_steps(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    name = (await api.start("demo")).name
    await run_through(engine)
    events: list[run_pb2.RunEvent] = []
    request = pb.ListRunEventsRequest(parent=name, page_size=4)
    while True:
        page = await api.call(api.runs.ListRunEvents, request)
        events += page.events
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert (events[0].step, events[0].to_state) == ("", "QUEUED")
    assert (events[-1].step, events[-1].to_state, events[-1].cause) == ("", "SUCCEEDED", "all_steps_ended")
    assert {"fetch", "route", "send", "note"} <= {event.step for event in events}
    assert (await api.run(name)).sequence == len(events)


async def test_an_old_run_is_shown_with_the_definition_that_it_is_pinned_to(api: Api) -> None:
    await api.apply(CHAIN)
    name = (await api.start("demo")).name
    await api.apply("name: demo\nsteps:\n  - {id: alone, log: hi}\n")
    assert [step.id for step in (await api.run(name)).steps] == ["fetch", "route", "send", "note"]


async def test_a_definition_that_this_version_cannot_compile_still_shows_its_runs(api: Api, engine: Engine) -> None:
    await api.apply(CHAIN)
    name = (await api.start("demo")).name
    await engine.execute("UPDATE revisions SET source = 'from: {another: age}', revision_id = $1", new_id())
    await engine.execute("UPDATE runs SET revision_id = (SELECT revision_id FROM revisions)")
    run = await api.run(name)
    assert [(step.id, step.state) for step in run.steps] == [("0", STEP.STATE_QUEUED)]


async def test_an_output_beyond_what_protobuf_holds_is_still_shown(
    api: Api, engine: Engine, platform: Platform
) -> None:
    await api.apply(CHAIN)
    name = (await api.start("demo")).name
    deep: Any = "bottom"
    for _ in range(60):
        deep = {"in": deep}
    [grant] = await engine.claim(ALICE)
    output = json.dumps({"body": 1, "deep": deep, "large": 2**64, "huge": 10**400})
    await engine.report(ALICE, stretch(grant.lease, succeeded(FETCH, output)))
    shown: Any = (await api.run(name)).steps[0].output.struct_value
    assert shown["large"] == float(2**64)
    assert shown["huge"] == str(10**400)
    levels, node = 0, shown["deep"]
    while not isinstance(node, str):
        levels, node = levels + 1, node["in"]
    assert levels > 20
    assert node.count('{"in":') == 60 - levels
    watched: Any = await anext(aiter(api.runs.WatchRun(pb.WatchRunRequest(name=name), metadata=api.metadata)))
    assert watched.run.steps[0].output.struct_value["deep"]["in"]


async def test_outputs_that_do_not_fit_into_one_answer_are_left_out_and_said_so(api: Api, engine: Engine) -> None:
    steps = "\n".join(f"  - {{id: s{index}, needs: [], {HTTP}}}" for index in range(10))
    await api.apply(f"name: demo\nsteps:\n{steps}\n")
    name = (await api.start("demo")).name
    for grant in await engine.claim(ALICE):
        text = json.dumps("x" * 1_000_000)
        await engine.report(ALICE, stretch(grant.lease, succeeded(grant.lease.step, text)))
    run = await api.run(name)
    assert [step.output_omitted for step in run.steps] == [False] * 4 + [True] * 6
    assert [step.HasField("output") for step in run.steps] == [True] * 4 + [False] * 6
