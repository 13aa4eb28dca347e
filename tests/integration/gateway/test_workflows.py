"""Definitions: checked together, stored together, never changed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from taskforge.v1 import secret_service_pb2
from taskforge.v1 import workflow_service_pb2 as pb
from tests.support.engine import Engine
from tests.support.gateway import Api, Refusal, apply_request

CHANGE = pb.AppliedWorkflow.Change


def workflow(name: str = "demo", *, text: str = "hello", triggers: str = "[]") -> str:
    return f"""
name: {name}
description: Says {text}
labels: {{team: infra}}
inputs:
  who: {{type: string, default: you}}
triggers: {triggers}
steps:
  - id: say
    log: {text}
  - id: route
    switch:
      - if: ${{{{ inputs.who == "me" }}}}
        steps:
          - {{id: send, http: {{method: POST, url: "http://localhost/"}}}}
output: ${{{{ inputs.who }}}}
"""


HOOK = "[{id: push, webhook: {verify: {scheme: github, secret: GH_HOOK}}}]"
NIGHTLY = '[{id: nightly, cron: "30 2 * * *", timezone: Europe/Paris}]'


async def get(api: Api, name: str, revision: int = 0) -> Any:
    return await api.call(api.workflows.GetWorkflow, pb.GetWorkflowRequest(name=f"workflows/{name}", revision=revision))


async def rows(engine: Engine) -> dict[str, int]:
    counts = {}
    for table in ("workflows", "revisions", "triggers", "audit"):
        counts[table] = (await engine.fetch(f"SELECT count(*) AS n FROM {table}"))[0]["n"]  # noqa: S608
    return counts


async def test_a_new_definition_becomes_revision_1_and_can_be_read(api: Api) -> None:
    [result] = (await api.apply(workflow(triggers=NIGHTLY))).results
    assert result.change == CHANGE.CHANGE_CREATED
    assert (result.workflow.name, result.workflow.revision, result.workflow.source) == ("workflows/demo", 1, "")

    read = await get(api, "demo")
    assert read.source == workflow(triggers=NIGHTLY)
    assert [(step.id, step.kind, list(step.needs), step.parent) for step in read.steps] == [
        ("say", "log", [], ""),
        ("route", "switch", ["say"], ""),
        ("send", "http", ["route"], "route"),
    ]
    assert json.loads(read.inputs_schema_json)["who"]["type"] == "string"
    assert dict(read.labels) == {"team": "infra"}
    assert [(one.id, one.kind, one.summary) for one in read.triggers] == [
        ("nightly", "schedule", "30 2 * * * (Europe/Paris)")
    ]
    assert read.source_hash == result.workflow.source_hash
    assert read.create_time == result.workflow.create_time


async def test_only_a_changed_text_makes_a_revision(api: Api, engine: Engine) -> None:
    await api.apply(workflow())
    [same] = (await api.apply(workflow())).results
    assert (same.change, same.workflow.revision) == (CHANGE.CHANGE_UNCHANGED, 1)
    [changed] = (await api.apply(workflow(text="bye"))).results
    assert (changed.change, changed.workflow.revision) == (CHANGE.CHANGE_UPDATED, 2)

    assert (await get(api, "demo", 1)).description == "Says hello"
    assert (await get(api, "demo")).description == "Says bye"
    assert await rows(engine) == {"workflows": 1, "revisions": 2, "triggers": 0, "audit": 2}


async def test_all_faults_of_all_files_are_reported_at_once_and_nothing_is_stored(api: Api, engine: Engine) -> None:
    broken = "name: other\nstesp: []\nsteps:\n  - {id: a, log: hi, retyr: 1}\n"
    refusal = await api.refused(api.workflows.ApplyWorkflows, apply_request(workflow(), broken, "steps: ["))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "WORKFLOW_INVALID")
    assert refusal.violations["1.yaml:2:1"].startswith("TF1102: ")
    assert "did you mean 'steps'?" in refusal.violations["1.yaml:2:1"]
    assert any(field.startswith("2.yaml:") for field in refusal.violations)

    problems = json.loads(refusal.metadata["problems"])
    assert {problem["source"] for problem in problems} == {1, 2}
    assert {(problem["line"], problem["column"], problem["code"]) for problem in problems} >= {(2, 1, "TF1102")}
    assert refusal.metadata["problem_count"] == str(len(problems))
    assert set((await rows(engine)).values()) == {0}


async def test_a_flood_of_faults_fits_into_what_a_client_accepts(api: Api) -> None:
    steps = "\n".join(f"  - {{id: s{index}, log: hi, nonsense_number_{index}: 1}}" for index in range(90))
    sources = [f"name: w{index}\nsteps:\n{steps}\n" for index in range(10)]
    refusal = await api.refused(api.workflows.ApplyWorkflows, apply_request(*sources))
    assert refusal.reason == "WORKFLOW_INVALID"
    shown = len(json.loads(refusal.metadata["problems"]))
    assert 10 < shown <= 50
    assert refusal.metadata["problem_count"] == "900"
    assert refusal.violations[""] == f"and {900 - shown} more"


async def test_two_files_cannot_define_the_same_workflow(api: Api) -> None:
    refusal = await api.refused(api.workflows.ApplyWorkflows, apply_request(workflow(), workflow(text="other")))
    assert refusal.violations == {
        "1.yaml:1:1": "TF1106: workflow 'demo' is also defined in 0.yaml (give one of them another name)"
    }


@pytest.mark.parametrize("count", [0, 501])
async def test_a_request_has_between_one_and_500_files(api: Api, count: int) -> None:
    refusal = await api.refused(api.workflows.ApplyWorkflows, apply_request(*["name: x"] * count))
    assert (refusal.reason, list(refusal.violations)) == ("FIELD_INVALID", ["sources"])


async def test_validate_only_says_what_would_happen_and_writes_nothing(api: Api, engine: Engine) -> None:
    await api.apply(workflow("kept", triggers=HOOK))
    before = await rows(engine)
    answer = await api.apply(workflow("kept", text="new", triggers=HOOK), workflow("fresh"), validate_only=True)
    assert [(one.change, one.workflow.revision) for one in answer.results] == [
        (CHANGE.CHANGE_UPDATED, 2),
        (CHANGE.CHANGE_CREATED, 1),
    ]
    assert answer.results[0].workflow.triggers[0].summary == (await get(api, "kept")).triggers[0].summary
    assert await rows(engine) == before


async def test_secrets_that_do_not_exist_are_a_warning(api: Api) -> None:
    [result] = (await api.apply(workflow(triggers=HOOK))).results
    assert list(result.warnings) == ["secret GH_HOOK does not exist yet; set it with: taskforge secret set GH_HOOK"]
    await api.call(api.secrets.SetSecret, secret_service_pb2.SetSecretRequest(name="secrets/GH_HOOK", value="x"))
    [again] = (await api.apply(workflow(triggers=HOOK))).results
    assert list(again.warnings) == []


async def test_a_webhook_keeps_its_path_while_its_workflow_names_it(api: Api, engine: Engine) -> None:
    async def trigger() -> Any:
        [row] = await engine.fetch("SELECT trigger_id, path_key, kind, revision_id FROM triggers")
        return row

    await api.apply(workflow(triggers=HOOK))
    first = await trigger()
    assert len(first["path_key"]) >= 22
    await api.apply(workflow(text="new", triggers=HOOK))
    second = await trigger()
    assert (second["trigger_id"], second["path_key"]) == (first["trigger_id"], first["path_key"])
    assert second["revision_id"] != first["revision_id"]

    await api.apply(workflow(triggers="[{id: push, every: 10s}]"))
    other_kind = await trigger()
    assert other_kind["kind"] == "schedule"
    assert other_kind["trigger_id"] != first["trigger_id"]
    await api.apply(workflow())
    assert (await rows(engine))["triggers"] == 0


async def test_an_unchanged_trigger_is_not_touched(api: Api, engine: Engine) -> None:
    await api.apply(workflow(triggers=NIGHTLY))
    [before] = await engine.fetch("SELECT updated_at FROM triggers")
    await api.apply(workflow(triggers=NIGHTLY))
    [after] = await engine.fetch("SELECT updated_at FROM triggers")
    assert after == before


async def test_concurrent_applies_take_turns(api: Api, engine: Engine) -> None:
    await asyncio.gather(
        *(api.apply(workflow("a", text=f"t{n}"), workflow("b", text=f"t{n}", triggers=HOOK)) for n in range(8))
    )
    numbers = await engine.fetch("SELECT workflow, number FROM revisions ORDER BY workflow, number")
    assert [(row["workflow"], row["number"]) for row in numbers] == [(w, n) for w in "ab" for n in range(1, 9)]
    newest = await engine.fetch(
        "SELECT 1 FROM workflows w JOIN triggers t ON t.workflow = w.name AND t.revision_id = w.revision_id"
    )
    assert len(newest) == 1


async def test_lists_page_by_name_without_texts(api: Api) -> None:
    await api.apply(*(workflow(f"w{index}", triggers=HOOK) for index in range(5)))
    first = await api.call(api.workflows.ListWorkflows, pb.ListWorkflowsRequest(page_size=3))
    second = await api.call(
        api.workflows.ListWorkflows, pb.ListWorkflowsRequest(page_size=3, page_token=first.next_page_token)
    )
    names = [one.name for page in (first, second) for one in page.workflows]
    assert names == [f"workflows/w{index}" for index in range(5)]
    assert second.next_page_token == ""
    assert all(not one.source and not one.steps and one.triggers for one in first.workflows)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_size": -1}, "FIELD_INVALID"),
        ({"page_token": "garbage"}, "PAGE_TOKEN_INVALID"),
        ({"page_token": "é" * 3}, "PAGE_TOKEN_INVALID"),
        ({"page_token": "A" * 5000}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_wrong_pages_are_refused(api: Api, fields: dict[str, Any], reason: str) -> None:
    refusal = await api.refused(api.workflows.ListWorkflows, pb.ListWorkflowsRequest(**fields))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_deleted_workflow_is_gone_until_it_is_applied_again(api: Api, engine: Engine) -> None:
    await api.apply(workflow(triggers=HOOK))
    await api.call(api.workflows.DeleteWorkflow, pb.DeleteWorkflowRequest(name="workflows/demo"))

    refusal = await api.refused(api.workflows.GetWorkflow, pb.GetWorkflowRequest(name="workflows/demo"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "WORKFLOW_NOT_FOUND")
    again = await api.refused(api.workflows.DeleteWorkflow, pb.DeleteWorkflowRequest(name="workflows/demo"))
    assert again.reason == "WORKFLOW_NOT_FOUND"
    assert not (await api.call(api.workflows.ListWorkflows, pb.ListWorkflowsRequest())).workflows
    assert (await rows(engine))["triggers"] == 0

    [back] = (await api.apply(workflow(triggers=HOOK))).results
    assert (back.change, back.workflow.revision) == (CHANGE.CHANGE_CREATED, 1)
    await api.call(api.workflows.DeleteWorkflow, pb.DeleteWorkflowRequest(name="workflows/demo"))
    [changed] = (await api.apply(workflow(text="new"))).results
    assert (changed.change, changed.workflow.revision) == (CHANGE.CHANGE_CREATED, 2)


async def test_a_workflow_with_active_runs_is_deleted_only_by_force(api: Api, engine: Engine) -> None:
    await api.apply(workflow())
    [row] = await engine.fetch("SELECT revision_id FROM revisions")
    await engine.start(row["revision_id"])
    request = pb.DeleteWorkflowRequest(name="workflows/demo")
    refusal = await api.refused(api.workflows.DeleteWorkflow, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WORKFLOW_HAS_ACTIVE_RUNS")
    assert await get(api, "demo")
    request.force = True
    await api.call(api.workflows.DeleteWorkflow, request)


async def test_every_change_is_in_the_audit_log(api: Api, engine: Engine) -> None:
    await api.apply(workflow("a"), workflow("b"))
    await api.apply(workflow("a"), workflow("b", text="new"))
    await api.call(api.workflows.DeleteWorkflow, pb.DeleteWorkflowRequest(name="workflows/a", force=True))
    entries = await engine.fetch("SELECT actor, action, object, detail FROM audit ORDER BY audit_id")
    assert [(e["actor"], e["action"], e["object"], json.loads(e["detail"])) for e in entries] == [
        ("admin", "workflow.apply", "workflows/a", {"change": "created", "revision": 1}),
        ("admin", "workflow.apply", "workflows/b", {"change": "created", "revision": 1}),
        ("admin", "workflow.apply", "workflows/b", {"change": "updated", "revision": 2}),
        ("admin", "workflow.delete", "workflows/a", {"force": True}),
    ]


@pytest.mark.parametrize("name", ["demo", "runs/demo", "workflows/", "workflows/a/b", ""])
async def test_a_name_of_another_form_is_a_field_fault(api: Api, name: str) -> None:
    refusal: Refusal = await api.refused(api.workflows.GetWorkflow, pb.GetWorkflowRequest(name=name))
    assert (refusal.reason, list(refusal.violations)) == ("FIELD_INVALID", ["name"])
