"""The first five minutes: write a workflow, apply it, start it, watch it, read what came out."""

from __future__ import annotations

from taskforge.v1.run_service_pb2 import WatchRunRequest
from taskforge.v1.workflow_service_pb2 import AppliedWorkflow, GetWorkflowRequest
from tests.e2e.stories import Workflows
from tests.support.api import Api, plain, run_state, step_of, step_states
from tests.support.target import Answer, Target

RELEASE = """
    name: $name
    description: Says what the newest release is
    inputs:
      repo: {type: string, default: me/app}
    steps:
      - id: fetch
        http: {url: "$target/repos/${{ inputs.repo }}"}
      - id: summary
        transform:
          input: ${{ steps.fetch.output.body }}
          jq: "{tag: .tag_name, assets: [.assets[].name]}"
      - id: tell
        log: newest is ${{ steps.summary.output.tag }}
    output: ${{ steps.summary.output }}
"""


async def test_a_workflow_is_applied_started_watched_and_read(api: Api, workflows: Workflows, target: Target) -> None:
    target.answer("/repos/me/tool", Answer(json={"tag_name": "v2", "assets": [{"name": "a.zip"}, {"name": "b.zip"}]}))
    name = await workflows.apply(RELEASE)

    started = await api.start(name, repo="me/tool")
    assert started.workflow == f"workflows/{name}"
    watched = [
        answer.run async for answer in api.runs.WatchRun(WatchRunRequest(name=started.name), metadata=api.metadata)
    ]
    assert run_state(watched[-1]) == "SUCCEEDED"
    assert [run.sequence for run in watched] == sorted({run.sequence for run in watched})

    run = await api.run(started.name)
    assert plain(run.output) == {"tag": "v2", "assets": ["a.zip", "b.zip"]}
    assert step_states(run) == {"fetch": "SUCCEEDED", "summary": "SUCCEEDED", "tell": "SUCCEEDED"}
    fetched = plain(step_of(run, "fetch").output)
    assert fetched["status"] == 200
    assert fetched["body"]["tag_name"] == "v2"
    assert [line.message for line in await api.logs(run.name)] == ["newest is v2"]


async def test_the_history_of_a_run_tells_every_change(api: Api, workflows: Workflows) -> None:
    name = await workflows.apply(RELEASE.replace("{type: string, default: me/app}", "{type: string, default: x}"))
    run = await api.ended((await api.start(name)).name, "FAILED")  # `{}` has no assets

    events = await api.events(run.name)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.to_state for event in events if not event.step] == ["QUEUED", "RUNNING", "FAILED"]
    assert [event.to_state for event in events if event.step == "fetch"] == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert step_states(run) == {"fetch": "SUCCEEDED", "summary": "FAILED", "tell": "CANCELLED"}
    assert run.error.step == "summary"


async def test_a_run_keeps_the_revision_it_was_started_with(api: Api, workflows: Workflows, target: Target) -> None:
    gate = target.hold("/slow")
    source = """
        name: $name
        steps:
          - id: wait
            http: {url: $target/slow}
        output: $word
    """
    name = await workflows.apply(source, word="first")
    old = await api.start(name)
    changed = await api.apply(workflows.filled(source, name=name, word="second"))
    assert (changed[0].change, changed[0].workflow.revision) == (AppliedWorkflow.CHANGE_UPDATED, 2)
    again = await api.apply(workflows.filled(source, name=name, word="second"))
    assert (again[0].change, again[0].workflow.revision) == (AppliedWorkflow.CHANGE_UNCHANGED, 2)
    new = await api.start(name)
    gate.set()

    assert plain((await api.ended(old.name)).output) == "first"
    assert plain((await api.ended(new.name)).output) == "second"
    kept = await api.call(api.workflows.GetWorkflow, GetWorkflowRequest(name=f"workflows/{name}", revision=1))
    assert "output: first" in kept.source
