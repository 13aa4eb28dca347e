"""The WorkflowService: check, apply, read, delete definitions."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from taskforge.gateway.applying import Applier
from taskforge.gateway.deadlines import Context
from taskforge.gateway.names import field_invalid, parse_workflow
from taskforge.gateway.paging import Paging
from taskforge.gateway.revisions import Revisions
from taskforge.gateway.workflow_messages import listed_workflow, whole_workflow
from taskforge.runtime.guard import caller
from taskforge.store.definitions import Definitions, workflow_not_found
from taskforge.v1 import workflow_pb2
from taskforge.v1 import workflow_service_pb2 as pb
from taskforge.v1.workflow_service_pb2_grpc import WorkflowServiceServicer

_PAGES = Paging(method="ListWorkflows", first="", parse=str)


class WorkflowService(WorkflowServiceServicer):
    """See proto/taskforge/v1/workflow_service.proto."""

    def __init__(self, definitions: Definitions, revisions: Revisions, applier: Applier) -> None:
        self._definitions = definitions
        self._revisions = revisions
        self._applier = applier

    async def ApplyWorkflows(  # noqa: N802
        self, request: pb.ApplyWorkflowsRequest, context: Context
    ) -> pb.ApplyWorkflowsResponse:
        """Check and store definitions, all of them or none."""
        response = await self._applier.apply(request)
        if not request.validate_only:
            await self._revisions.settle()
        return response

    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> workflow_pb2.Workflow:  # noqa: N802
        """Read a workflow with its current definition, or an earlier one."""
        if request.revision < 0:
            raise field_invalid("revision", "is negative")
        name, number = parse_workflow(request.name), request.revision or None
        row = await self._definitions.get(name, number)
        if row is None:
            raise workflow_not_found(name, number)
        triggers = await self._definitions.triggers([name])
        revision = await self._revisions.get(row.revision_id)
        return whole_workflow(row, triggers.get(name, []), revision.workflow if revision else None)

    async def ListWorkflows(  # noqa: N802
        self, request: pb.ListWorkflowsRequest, context: Context
    ) -> pb.ListWorkflowsResponse:
        """List workflows by name."""
        page = _PAGES.open(request.page_size, request.page_token)
        rows = await self._definitions.page(after=page.after, limit=page.limit)
        shown, token = page.cut(rows, lambda row: row.name)
        triggers = await self._definitions.triggers([row.name for row in shown])
        return pb.ListWorkflowsResponse(
            workflows=[listed_workflow(row, triggers.get(row.name, [])) for row in shown], next_page_token=token
        )

    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Context) -> Empty:  # noqa: N802
        """Delete a workflow with its schedules and webhooks."""
        await self._definitions.delete(parse_workflow(request.name), force=request.force, actor=caller.get())
        await self._revisions.settle()
        return Empty()
