"""What an executor knows about a run that it carries: the pinned definition, the data, and its own look ahead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from taskforge.domain.advance import Turn
from taskforge.domain.outcome import Outcome, StepError
from taskforge.domain.run import Carried, Event, Finished, Snapshot, StepChanged, StepView
from taskforge.domain.states import RunState, StepState
from taskforge.domain.workflow import JsonValue
from taskforge.executor.definitions import Definition
from taskforge.executor.secrets_cache import Secret
from taskforge.internal.v1.scheduler_service_pb2 import Grant, KnownStep
from taskforge.language.plan import StepPlan

_decode = json.JSONDecoder().decode


class RunView:
    """The same core as the scheduler's, run on what the grants said.

    It only ever says what may be evaluated ahead: the scheduler takes every transition again and has the last word.
    """

    def __init__(self, definition: Definition, grant: Grant) -> None:
        self.run_id = grant.lease.run_id
        self.run_name = _uuid_text(grant.lease.run_id)
        self.epoch = grant.epoch  #: steps that wait behind a redriven one were redriven with it
        self.definition = definition
        self.secrets: set[Secret] = set()  #: every secret that was resolved for this run
        self.checked: set[int] = set()  #: steps whose `if` was found to hold
        self.known: set[int] = set()  #: the steps whose ends and outputs are known here
        self._steps: dict[str, JsonValue] = {}
        self._context = self._open(grant)
        self._turn = Turn(Snapshot(definition.workflow, RunState.RUNNING))
        self.absorb(grant)

    def plan(self, index: int) -> StepPlan:
        """A step's plan."""
        return self.definition.plans[index]

    def context(self, secrets: Mapping[str, str] | None = None) -> Mapping[str, JsonValue]:
        """What expressions see; with secrets, only for the step that may use them."""
        return {**self._context, "secrets": secrets} if secrets else self._context

    def absorb(self, grant: Grant) -> None:
        """Learn what a grant says, and that its step is leased."""
        lease, steps = grant.lease, self._turn.steps
        for known in grant.steps:
            steps[known.step] = _view(known)
            output = _decode(known.output_json) if known.output_json else None
            error = _decode(known.error_json) if known.error_json else None
            self._tell(known.step, StepState(known.state), output, error)
        steps[lease.step] = StepView(StepState.RUNNING, attempt=grant.attempt, epoch=grant.epoch, token=lease.token)
        self.known.discard(lease.step)

    def finish(self, index: int, outcome: Outcome) -> list[int]:
        """Note the leased step's end; the steps that it made ready, in the order of the file."""
        return self._take(Finished(step=index, outcome=outcome)) or []

    def fail(self, index: int, error: StepError) -> None:
        """Note that the leased step failed for good. Only the scheduler knows whether it is tried again, but should
        this task hear of the run again, it was not.
        """
        self._turn.steps[index] = StepView(StepState.FAILED)
        self._tell(index, StepState.FAILED, None, _shown(error))

    def carry(self, index: int, outcome: Outcome) -> list[int] | None:
        """Note the end of a step that was evaluated ahead; None if the core does not allow it."""
        return self._take(Carried(step=index, outcome=outcome))

    def _take(self, event: Event) -> list[int] | None:
        turn = self._turn
        if turn.take(event) is not None:
            return None
        for decision in turn.decisions:
            if isinstance(decision, StepChanged) and decision.after.is_final:
                error = _shown(decision.error) if decision.error is not None else None
                self._tell(decision.step, decision.after.state, decision.output, error)
        return sorted(turn.queued)

    def _open(self, grant: Grant) -> dict[str, JsonValue]:
        """What expressions see. What none of this workflow's refers to is not made."""
        context: dict[str, JsonValue] = {"steps": self._steps, "secrets": {}}
        names = self.definition.names
        if "inputs" in names:
            context["inputs"] = _decode(grant.inputs_json or "{}")
        if "trigger" in names:
            context["trigger"] = _decode(grant.trigger_json or "{}")
        if "run" in names:
            created_at = _rfc3339(grant.create_time_us)
            context["run"] = {"id": self.run_name, "workflow": grant.workflow, "created_at": created_at}
        return context

    def _tell(self, index: int, state: StepState, output: JsonValue, error: JsonValue) -> None:
        entry: dict[str, JsonValue] = {"state": state.value}
        if state is StepState.SUCCEEDED:
            entry["output"] = output
        elif state is StepState.FAILED and error is not None:
            entry["error"] = error
        self._steps[self.definition.workflow.steps[index].id] = entry
        self.known.add(index)


def _view(known: KnownStep) -> StepView:
    branch = known.branch_plus_one - 1 if known.branch_plus_one else None
    return StepView(state=StepState(known.state), branch=branch)


def _shown(error: StepError) -> JsonValue:
    """An error as expressions see it."""
    return {"kind": error.kind.value, "message": error.message, "status": error.status}


def _uuid_text(raw: bytes) -> str:
    """What `str(UUID(bytes=raw))` says, without making one."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _rfc3339(microseconds: int) -> str:
    return (
        datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )
