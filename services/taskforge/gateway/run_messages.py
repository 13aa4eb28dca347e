"""Runs, steps, events and log lines from their rows and their pinned definition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskforge.domain.states import StepState
from taskforge.domain.workflow import ActionKind, Step, Workflow
from taskforge.gateway.convert import identity, step_error, timestamp
from taskforge.gateway.names import run_name, workflow_name
from taskforge.gateway.structs import struct_from_text, value_from_text
from taskforge.store.run_reads import AttemptRow, EventRow, LogRow, RunRecord, RunRow, StepRow
from taskforge.v1 import run_pb2


def listed_run(row: RunRow) -> run_pb2.Run:
    """A run as lists show it: without steps, inputs and output."""
    return run_pb2.Run(
        name=run_name(row.run_id),
        workflow=workflow_name(row.workflow),
        revision=row.revision or 0,
        state=f"STATE_{row.state}",
        cause=run_pb2.Cause(
            kind=f"KIND_{row.cause_kind.upper()}",
            trigger=row.cause_trigger,
            id=row.cause_id,
        ),
        error=step_error(row.error),
        labels=json.loads(row.labels),
        create_time=timestamp(row.created_at),
        start_time=timestamp(row.started_at),
        end_time=timestamp(row.ended_at),
        sequence=row.seq,
    )


def whole_run(record: RunRecord, workflow: Workflow | None) -> run_pb2.Run:
    """A run with all its steps, also those that have no row because they are PENDING.

    The hidden step that evaluates the workflow's `output` is among them only when it failed: its output is the run's.
    Without a definition, which no version of this program that could read it has left, rows are all there is to show.
    """
    run = listed_run(record.run)
    inputs, output = struct_from_text(record.run.inputs), value_from_text(record.run.output)
    if inputs is not None:
        run.inputs.CopyFrom(inputs)
    if output is not None:
        run.output.CopyFrom(output)
    run.steps.extend(_steps(record, workflow))
    if run.HasField("error"):
        run.error.step = _failed_step(record, workflow, run.error.message)
    return run


def _steps(record: RunRecord, workflow: Workflow | None) -> list[run_pb2.Step]:
    rows = {row.step: row for row in record.steps}
    attempts: dict[int, list[run_pb2.Attempt]] = {}
    for attempt in record.attempts:
        attempts.setdefault(attempt.step, []).append(_attempt(attempt))
    run = run_name(record.run.run_id)
    if workflow is None:
        return [
            _state(run_pb2.Step(name=f"{run}/steps/{index}", id=str(index), attempts=attempts.get(index)), row)
            for index, row in rows.items()
        ]
    return [
        _state(_definition(run, step, workflow, attempts.get(step.index)), rows.get(step.index))
        for step in workflow.steps
        if step.kind is not ActionKind.OUTPUT or _has_failed(rows.get(step.index))
    ]


def _has_failed(row: StepRow | None) -> bool:
    return row is not None and row.state == StepState.FAILED


def _definition(run: str, step: Step, workflow: Workflow, attempts: Sequence[run_pb2.Attempt] | None) -> run_pb2.Step:
    """What the definition says about a step."""
    return run_pb2.Step(
        name=f"{run}/steps/{step.id}",
        id=step.id,
        kind=step.kind.value,
        state=run_pb2.Step.State.STATE_PENDING,
        max_attempts=step.retry.max_attempts,
        parent="" if step.parent is None else workflow.steps[step.parent].id,
        branch=step.branch or 0,
        needs=[workflow.steps[need].id for need in step.needs],
        attempts=attempts,
    )


def _state(message: run_pb2.Step, row: StepRow | None) -> run_pb2.Step:
    """Add what the row says about a step; without one it is PENDING."""
    if row is None:
        return message
    message.MergeFrom(
        run_pb2.Step(
            state=f"STATE_{row.state}",
            reason=row.cause,
            attempt=row.attempt,
            crashes=row.crashes,
            output=value_from_text(row.output),
            output_omitted=row.output_omitted,
            error=step_error(row.error),
            start_time=timestamp(row.started_at),
            end_time=timestamp(row.ended_at),
            due_time=timestamp(row.due_at),
            executor=identity(row.executor_id),
        )
    )
    return message


def _attempt(row: AttemptRow) -> run_pb2.Attempt:
    return run_pb2.Attempt(
        number=row.attempt,
        epoch=row.epoch,
        outcome=row.outcome,
        error=step_error(row.error),
        executor=identity(row.executor_id),
        start_time=timestamp(row.started_at),
        end_time=timestamp(row.ended_at),
    )


def _failed_step(record: RunRecord, workflow: Workflow | None, message: str) -> str:
    """The step whose error is the run's: the engine names it in the message that it makes of the step's."""
    for row in record.steps:
        if workflow is not None and _has_failed(row) and row.error is not None:
            step = workflow.steps[row.step].id
            if message == f"step '{step}' failed: {json.loads(row.error).get('message')}":
                return step
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepIds:
    """Ids of a definition's steps by their index."""

    by_index: Mapping[int, str]

    @classmethod
    def of(cls, workflow: Workflow | None) -> StepIds:
        """Those of a definition; without one, indexes stand for ids."""
        return cls(by_index={step.index: step.id for step in workflow.steps} if workflow else {})

    def id(self, index: int | None) -> str:
        """A step's id; empty for the run itself."""
        return "" if index is None else self.by_index.get(index, str(index))

    def index(self, step: str) -> int | None:
        """A step's index; None if there is no such step."""
        return next((index for index, known in self.by_index.items() if known == step), None)


def run_event(row: EventRow, ids: StepIds) -> run_pb2.RunEvent:
    """One change of a run or of one of its steps."""
    return run_pb2.RunEvent(
        sequence=row.seq,
        time=timestamp(row.at),
        step=ids.id(row.step),
        from_state=row.from_state,
        to_state=row.to_state,
        cause=row.cause,
        attempt=row.attempt,
        executor=identity(row.executor_id),
        message=row.message,
    )


def log_line(row: LogRow, ids: StepIds) -> run_pb2.LogLine:
    """One line that a run logged."""
    return run_pb2.LogLine(
        step=ids.id(row.step),
        attempt=row.attempt,
        time=timestamp(row.at),
        level=row.level,
        message=row.message,
        data=value_from_text(row.data),
        sequence=row.log_id,
    )
