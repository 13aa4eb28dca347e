"""Following a run: every change, its end, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from taskforge.runtime.ids import new_id
from taskforge.store import logs
from taskforge.v1 import run_pb2
from taskforge.v1 import run_service_pb2 as pb
from tests.support.engine import Engine, stretch, succeeded
from tests.support.gateway import Api, Platform
from tests.support.postgres import Database

RUN = run_pb2.Run.State
STEP = run_pb2.Step.State
ALICE = new_id()
TWO = """
name: demo
steps:
  - {id: a, http: {method: POST, url: "http://localhost/"}}
  - {id: b, http: {method: POST, url: "http://localhost/"}}
"""


async def started(api: Api, engine: Engine) -> str:
    """A run of TWO, made behind the gateway's back: no scheduler is needed to watch."""
    await api.apply(TWO)
    [row] = await engine.fetch("SELECT revision_id FROM revisions")
    return f"runs/{await engine.start(row['revision_id'])}"


def watch(api: Api, name: str) -> Any:
    return api.runs.WatchRun(pb.WatchRunRequest(name=name), metadata=api.metadata, timeout=30)


async def test_a_watcher_sees_the_run_at_once_and_after_each_change_until_its_end(api: Api, engine: Engine) -> None:
    name = await started(api, engine)
    stream = aiter(watch(api, name))
    assert (await anext(stream)).run.state == RUN.STATE_QUEUED

    [grant] = await engine.claim(ALICE)
    claimed = (await anext(stream)).run
    assert (claimed.state, claimed.steps[0].state) == (RUN.STATE_RUNNING, STEP.STATE_RUNNING)

    result = await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    half = (await anext(stream)).run
    assert [step.state for step in half.steps] == [STEP.STATE_SUCCEEDED, STEP.STATE_RUNNING]

    await engine.report(ALICE, stretch(result.next.lease, succeeded(1)))
    last = (await anext(stream)).run
    assert last.state == RUN.STATE_SUCCEEDED
    assert await anext(stream, None) is None
    assert claimed.sequence < half.sequence < last.sequence


async def test_watching_a_run_that_has_ended_sends_it_once(api: Api, engine: Engine) -> None:
    name = await started(api, engine)
    [grant] = await engine.claim(ALICE)
    result = await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    await engine.report(ALICE, stretch(result.next.lease, succeeded(1)))
    assert [answer.run.state async for answer in watch(api, name)] == [RUN.STATE_SUCCEEDED]


async def test_many_watchers_see_the_same_end(api: Api, engine: Engine) -> None:
    name = await started(api, engine)

    async def end() -> Any:
        return [answer.run async for answer in watch(api, name)][-1]

    watchers = [asyncio.create_task(end()) for _ in range(20)]
    [grant] = await engine.claim(ALICE)
    result = await engine.report(ALICE, stretch(grant.lease, succeeded(0)))
    await engine.report(ALICE, stretch(result.next.lease, succeeded(1)))
    assert {run.state for run in await asyncio.gather(*watchers)} == {RUN.STATE_SUCCEEDED}


async def test_an_unknown_run_cannot_be_watched(api: Api) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(watch(api, "runs/ffffffff")))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_gateway_that_stops_sends_its_watchers_away_at_once(platform: Platform, engine: Engine) -> None:
    async with platform.gateway() as api:
        stream = aiter(watch(api, await started(api, engine)))
        await anext(stream)
        waiting = asyncio.create_task(anext(stream))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await waiting
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


# --- logs ---------------------------------------------------------------------------------------


def line(run: UUID, number: int, *, step: int = 0, **fields: Any) -> logs.LogLine:
    values: dict[str, Any] = {"level": "info", "data": None, "at": datetime.now(UTC), **fields}
    return logs.LogLine(
        run_id=run, step=step, epoch=0, attempt=1, number=number, message=f"line {step}.{number}", **values
    )


async def lines_of(api: Api, name: str, **fields: Any) -> Any:
    return (await api.call(api.runs.ListRunLogs, pb.ListRunLogsRequest(parent=name, **fields))).lines


async def test_log_lines_are_listed_in_order_by_step_and_from_a_number_on(api: Api, engine: Engine) -> None:
    name = await started(api, engine)
    run = UUID(name.removeprefix("runs/"))
    await logs.append(engine.database, [line(run, 1, data='{"n": 1}'), line(run, 2, level="error")])
    await logs.append(engine.database, [line(run, 1, step=1)])

    found = await lines_of(api, name)
    assert [(one.step, one.message, one.level, one.attempt) for one in found] == [
        ("a", "line 0.1", "info", 1),
        ("a", "line 0.2", "error", 1),
        ("b", "line 1.1", "info", 1),
    ]
    assert found[0].data.struct_value["n"] == 1
    assert not found[1].HasField("data")
    assert [one.message for one in await lines_of(api, name, step="b")] == ["line 1.1"]
    assert [one.message for one in await lines_of(api, name, after_sequence=found[1].sequence)] == ["line 1.1"]

    first = await api.call(api.runs.ListRunLogs, pb.ListRunLogsRequest(parent=name, page_size=2))
    rest = await lines_of(api, name, page_size=2, page_token=first.next_page_token)
    assert [one.message for one in rest] == ["line 1.1"]


async def test_an_unknown_step_has_no_log(api: Api, engine: Engine) -> None:
    name = await started(api, engine)
    refusal = await api.refused(api.runs.ListRunLogs, pb.ListRunLogsRequest(parent=name, step="z"))
    assert (refusal.reason, list(refusal.violations)) == ("FIELD_INVALID", ["step"])


async def test_a_follower_never_steps_over_a_line_that_is_committed_late(
    api: Api, engine: Engine, database: Database
) -> None:
    name = await started(api, engine)
    run = UUID(name.removeprefix("runs/"))
    insert = (
        "INSERT INTO logs (run_id, step, epoch, attempt, number, level, message, at)"
        " VALUES ($1, 0, 0, 1, $2, 'info', $3, clock_timestamp() - $4::interval)"
    )
    async with database.connect("scheduler") as slow, database.connect("scheduler") as quick:
        late = slow.transaction()
        await late.start()
        await slow.execute(insert, run, 1, "late", timedelta())
        await quick.execute(insert, run, 2, "early", timedelta())
        assert await lines_of(api, name) == []
        await quick.execute(insert, run, 3, "old", timedelta(seconds=11))
        assert [one.message for one in await lines_of(api, name)] == ["old"]
        await late.commit()
    assert [one.message for one in await lines_of(api, name)] == ["late", "early", "old"]


async def test_log_data_comes_back_as_it_was(api: Api, engine: Engine) -> None:
    name = await started(api, engine)
    run = UUID(name.removeprefix("runs/"))
    data: dict[str, Any] = {"text": "ä\n\u2028", "list": [1, None, True, {}], "empty": []}
    await logs.append(engine.database, [line(run, 1, data=json.dumps(data))])
    [found] = await lines_of(api, name)
    struct = found.data.struct_value
    assert struct["text"] == data["text"]
    assert [one.WhichOneof("kind") for one in struct.fields["list"].list_value.values] == [
        "number_value",
        "null_value",
        "bool_value",
        "struct_value",
    ]
    assert struct.fields["empty"].WhichOneof("kind") == "list_value"
