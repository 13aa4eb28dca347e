"""What is wrong with a workflow is told before it is stored: everything, with its place."""

from __future__ import annotations

import aiohttp

from taskforge.v1.workflow_service_pb2 import ApplyWorkflowsRequest, GetWorkflowRequest, WorkflowSource
from tests.e2e.stories import Workflows
from tests.support.api import Api

BROKEN = """name: broken
steps:
  - id: fetch
    http: {url: "https://example.com", methd: GET}
  - id: shape
    transform: {value: "${{ steps.fecth.output.body }}"}
  - id: wait
    timeout: 5 parsecs
    log: done
"""


NEEDS_A_SECRET = """
name: $name
steps:
  - {id: call, http: {url: "http://example.com", auth: {bearer: "${{ secrets.NOBODY }}"}}}
"""


async def test_every_fault_of_a_file_is_told_with_line_and_column(api: Api, http: aiohttp.ClientSession) -> None:
    sources = [WorkflowSource(filename="broken.yaml", source=BROKEN)]
    refused = await api.refused(api.workflows.ApplyWorkflows, ApplyWorkflowsRequest(sources=sources))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "WORKFLOW_INVALID")
    places = {place: text for place, text in refused.violations.items()}
    assert [place.split(":")[:2] for place in places] == [["broken.yaml", line] for line in ("4", "6", "8")]
    assert all(int(place.split(":")[2]) > 1 for place in places)
    first, second, third = places.values()
    assert "methd" in first
    assert "method" in first
    assert "fecth" in second
    assert "fetch" in second
    assert "5 parsecs" in third

    async with http.post("/v1/workflows:apply", json={"sources": [{"source": BROKEN}]}) as answer:
        body = await answer.json()
    assert answer.status == 400
    assert len(body["details"][1]["field_violations"]) == 3


async def test_files_are_applied_all_or_none(api: Api, workflows: Workflows) -> None:
    good = workflows.filled("name: $name\nsteps: [{id: a, transform: {value: 1}}]", name="story-all-or-none")
    sources = [WorkflowSource(source=good), WorkflowSource(source=BROKEN)]
    refused = await api.refused(api.workflows.ApplyWorkflows, ApplyWorkflowsRequest(sources=sources))
    assert refused.reason == "WORKFLOW_INVALID"
    missing = await api.refused(api.workflows.GetWorkflow, GetWorkflowRequest(name="workflows/story-all-or-none"))
    assert (missing.code, missing.reason) == ("NOT_FOUND", "WORKFLOW_NOT_FOUND")


async def test_a_check_stores_nothing(api: Api, workflows: Workflows) -> None:
    good = workflows.filled(NEEDS_A_SECRET, name="story-only-checked")
    request = ApplyWorkflowsRequest(sources=[WorkflowSource(source=good)], validate_only=True)
    [planned] = (await api.call(api.workflows.ApplyWorkflows, request)).results
    assert planned.workflow.revision == 1
    assert any("NOBODY" in warning for warning in planned.warnings)
    missing = await api.refused(api.workflows.GetWorkflow, GetWorkflowRequest(name="workflows/story-only-checked"))
    assert missing.code == "NOT_FOUND"
