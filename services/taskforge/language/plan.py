"""Compiled steps and webhooks as the services run them: build a plan once per revision, beside the workflow."""

from __future__ import annotations

from dataclasses import dataclass

from taskforge.domain.workflow import ActionKind, Step, WebhookTrigger, Workflow
from taskforge.language import cel
from taskforge.language.cel import Expression
from taskforge.language.templates import Template, compile_template

# Parameters that are programs or expressions of their own, not templates.
_NOT_RENDERED = {ActionKind.TRANSFORM: ("jq",), ActionKind.SWITCH: ("branches",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step, ready to run: its condition, its parameters, and for a switch the conditions of its branches."""

    step: Step
    condition: Expression | None
    params: Template  #: renders to the step's params, without `jq` and `branches`
    branches: tuple[Expression | None, ...] = ()  #: by Step.branch; None is `else`


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPlan:
    """One webhook, ready to judge deliveries. All of it is cheap by form: `parse_workflow` refuses anything else."""

    trigger: WebhookTrigger
    condition: Expression | None
    dedupe_key: Template | None
    inputs: Template


def plan_workflow(workflow: Workflow) -> tuple[StepPlan, ...]:
    """The plans of all steps, by index. The workflow must come from `parse_workflow`."""
    return tuple(plan_step(step) for step in workflow.steps)


def plan_step(step: Step) -> StepPlan:
    """The plan of one step."""
    left_out = _NOT_RENDERED.get(step.kind, ())
    params = {key: value for key, value in step.params.items() if key not in left_out}
    sources = step.params.get("branches", ()) if step.kind is ActionKind.SWITCH else ()
    return StepPlan(
        step=step,
        condition=cel.compile(step.condition) if step.condition is not None else None,
        params=compile_template(params),
        branches=tuple(cel.compile(source) if source is not None else None for source in sources),
    )


def plan_webhook(trigger: WebhookTrigger) -> WebhookPlan:
    """The plan of one webhook."""
    return WebhookPlan(
        trigger=trigger,
        condition=cel.compile(trigger.condition) if trigger.condition is not None else None,
        dedupe_key=compile_template(trigger.dedupe_key) if trigger.dedupe_key is not None else None,
        inputs=compile_template(dict(trigger.inputs)),
    )
