"""Applying definitions: compile all, report all, store all or nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskforge.domain.workflow import CronTrigger, WebhookTrigger, Workflow
from taskforge.gateway.compiler import Compiler
from taskforge.gateway.names import field_invalid
from taskforge.gateway.problem_report import Finding, workflow_invalid
from taskforge.gateway.secrets import is_secret_name
from taskforge.gateway.workflow_messages import applied_workflow
from taskforge.language.problems import Problem, Severity
from taskforge.runtime.guard import caller
from taskforge.runtime.ids import new_id
from taskforge.store import trigger_json
from taskforge.store.definitions import Applied, Definitions, NewDefinition, NewTrigger, StoredTrigger
from taskforge.v1 import workflow_service_pb2 as pb

MAX_SOURCES = 500
_PATH_KEY_BYTES = 18  # 144 random bits, 24 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A source that compiles, with what is worth knowing about it."""

    source: str
    workflow: Workflow
    warnings: tuple[str, ...]


class Applier:
    """Takes the sources of one request through all stages."""

    def __init__(self, definitions: Definitions, compiler: Compiler) -> None:
        self._definitions = definitions
        self._compiler = compiler

    async def apply(self, request: pb.ApplyWorkflowsRequest) -> pb.ApplyWorkflowsResponse:
        """Check and store all definitions, or with `validate_only` say what that would do.

        Raises:
            InvalidArgument: WORKFLOW_INVALID with every fault of every file; FIELD_INVALID for too many or no files.
        """
        if not 1 <= len(request.sources) <= MAX_SOURCES:
            raise field_invalid("sources", f"are {len(request.sources)}; send 1 to {MAX_SOURCES}")
        candidates = await self._compile(request.sources)
        new = [_new_definition(candidate) for candidate in candidates]
        if request.validate_only:
            applied = await self._definitions.plan(new)
        else:
            applied = await self._definitions.apply(new, actor=caller.get())
        stored = await self._definitions.triggers([one.name for one in applied])
        missing = await self._definitions.missing_secrets(_secrets(candidates))
        triggers = _planned_triggers(new, stored) if request.validate_only else stored
        return pb.ApplyWorkflowsResponse(
            results=[
                _result(candidate, one, triggers.get(one.name, []), missing)
                for candidate, one in zip(candidates, applied, strict=True)
            ]
        )

    async def _compile(self, sources: Sequence[pb.WorkflowSource]) -> list[_Candidate]:
        findings: list[Finding] = []
        candidates: list[_Candidate] = []
        owners: dict[str, str] = {}
        for index, source in enumerate(sources):
            parsed = await self._compiler.parse(source.source)
            found = [Finding(source=index, filename=source.filename, problem=problem) for problem in parsed.problems]
            if parsed.workflow is not None:
                name = parsed.workflow.name
                if name in owners:
                    found.append(_twice(index, source.filename, name, owners[name]))
                owners.setdefault(name, source.filename or f"sources[{index}]")
                warnings = tuple(f"{one.place}: {one.text}" for one in found)
                candidates.append(_Candidate(source=source.source, workflow=parsed.workflow, warnings=warnings))
            findings.extend(one for one in found if one.problem.severity is Severity.ERROR)
        if findings:
            raise workflow_invalid(findings)
        return candidates


def _twice(index: int, filename: str, name: str, owner: str) -> Finding:
    message = f"workflow '{name}' is also defined in {owner}"
    problem = Problem(code="TF1106", message=message, hint="give one of them another name", path="name")
    return Finding(source=index, filename=filename, problem=problem)


def _new_definition(candidate: _Candidate) -> NewDefinition:
    workflow = candidate.workflow
    return NewDefinition(
        workflow=workflow,
        source=candidate.source,
        revision_id=new_id(),
        triggers=tuple(
            NewTrigger(trigger_id=new_id(), path_key=secrets.token_urlsafe(_PATH_KEY_BYTES), trigger=trigger)
            for trigger in _triggers(workflow)
        ),
    )


def _triggers(workflow: Workflow) -> list[CronTrigger | WebhookTrigger]:
    return [*workflow.schedules, *workflow.webhooks]


def _secrets(candidates: Sequence[_Candidate]) -> list[str]:
    return sorted({name for candidate in candidates for name in candidate.workflow.secrets})


def _planned_triggers(
    new: Sequence[NewDefinition], stored: Mapping[str, Sequence[StoredTrigger]]
) -> dict[str, list[StoredTrigger]]:
    """The triggers as they would be; those that exist keep their path."""
    paths = {(one.workflow, one.id, one.kind): one.path_key for triggers in stored.values() for one in triggers}
    planned: dict[str, list[StoredTrigger]] = {}
    for definition in new:
        name = definition.workflow.name
        for item in definition.triggers:
            kind = trigger_json.kind_of(item.trigger)
            trigger = StoredTrigger(
                workflow=name,
                id=item.trigger.id,
                kind=kind,
                path_key=paths.get((name, item.trigger.id, kind), ""),
                definition=json.loads(trigger_json.to_json(item.trigger)),
            )
            planned.setdefault(name, []).append(trigger)
    return planned


def _result(
    candidate: _Candidate, applied: Applied, triggers: Sequence[StoredTrigger], missing: frozenset[str]
) -> pb.AppliedWorkflow:
    return pb.AppliedWorkflow(
        workflow=applied_workflow(applied, candidate.workflow, triggers),
        change=f"CHANGE_{applied.change.name}",
        warnings=[*candidate.warnings, *(_warning(name) for name in candidate.workflow.secrets if name in missing)],
    )


def _warning(secret: str) -> str:
    if is_secret_name(secret):
        return f"secret {secret} does not exist yet; set it with: taskforge secret set {secret}"
    return f"secret {secret} can never exist: names of secrets have upper-case letters, digits and _ only"
