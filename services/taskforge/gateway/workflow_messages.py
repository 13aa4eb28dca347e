"""Workflows, their steps and triggers from what is stored and compiled."""

from __future__ import annotations

import json
from collections.abc import Sequence

from taskforge.domain.workflow import ActionKind, Step, Workflow
from taskforge.gateway.convert import timestamp
from taskforge.gateway.names import workflow_name
from taskforge.store.definitions import Applied, DefinitionRow, StoredTrigger
from taskforge.store.trigger_json import SCHEDULE, cron_from_json, webhook_from_json
from taskforge.v1 import workflow_pb2


def webhook_path(workflow: str, trigger: str, path_key: str) -> str:
    """Where a webhook listens on the public port."""
    return f"/hooks/{workflow}/{trigger}/{path_key}"


def listed_workflow(row: DefinitionRow, triggers: Sequence[StoredTrigger]) -> workflow_pb2.Workflow:
    """A workflow as lists show it: without text, steps and inputs."""
    return workflow_pb2.Workflow(
        name=workflow_name(row.name),
        description=row.description,
        labels=row.labels,
        revision=row.number,
        source_hash=row.source_hash,
        triggers=[trigger_message(trigger) for trigger in triggers],
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.revised_at),
    )


def whole_workflow(
    row: DefinitionRow, triggers: Sequence[StoredTrigger], workflow: Workflow | None
) -> workflow_pb2.Workflow:
    """A workflow with its text; without steps if this version cannot compile it."""
    message = listed_workflow(row, triggers)
    message.source = row.source
    if workflow is not None:
        message.steps.extend(_steps(workflow))
        message.inputs_schema_json = _inputs_schema(workflow)
    return message


def applied_workflow(applied: Applied, workflow: Workflow, triggers: Sequence[StoredTrigger]) -> workflow_pb2.Workflow:
    """A workflow as it is after it was applied, without its text."""
    return workflow_pb2.Workflow(
        name=workflow_name(workflow.name),
        description=workflow.description,
        labels=workflow.labels,
        revision=applied.revision,
        source_hash=workflow.source_hash,
        steps=_steps(workflow),
        inputs_schema_json=_inputs_schema(workflow),
        triggers=[trigger_message(trigger) for trigger in triggers],
        create_time=timestamp(applied.created_at),
        update_time=timestamp(applied.updated_at),
    )


def trigger_message(trigger: StoredTrigger) -> workflow_pb2.Trigger:
    """A trigger with its one line for a person. A webhook that is not stored yet has no path yet."""
    if trigger.kind == SCHEDULE:
        cron = cron_from_json(trigger.definition)
        summary = f"every {cron.every:g}s" if cron.cron is None else f"{cron.cron} ({cron.timezone})"
    else:
        path = webhook_path(trigger.workflow, trigger.id, trigger.path_key or "…")
        summary = f"{path} ({webhook_from_json(trigger.definition).scheme})"
    return workflow_pb2.Trigger(id=trigger.id, kind=trigger.kind, summary=summary)


def _inputs_schema(workflow: Workflow) -> str:
    return json.dumps(dict(workflow.inputs), ensure_ascii=False)


def _steps(workflow: Workflow) -> list[workflow_pb2.WorkflowStep]:
    """The steps of the file; the hidden one that evaluates `output` is none of them."""
    return [_step(step, workflow) for step in workflow.steps if step.kind is not ActionKind.OUTPUT]


def _step(step: Step, workflow: Workflow) -> workflow_pb2.WorkflowStep:
    return workflow_pb2.WorkflowStep(
        id=step.id,
        kind=step.kind.value,
        needs=[workflow.steps[need].id for need in step.needs],
        parent="" if step.parent is None else workflow.steps[step.parent].id,
        branch=step.branch or 0,
        condition=step.condition or "",
    )
