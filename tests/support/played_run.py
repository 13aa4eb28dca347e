"""A run of the pure engine that is played event by event, and the small workflows that the stories use."""

from __future__ import annotations

from taskforge.domain.advance import advance
from taskforge.domain.outcome import ErrorKind, Outcome, StepError, Succeeded
from taskforge.domain.run import Advanced, Claimed, Decision, Event, Finished, Refused, Snapshot, Started
from taskforge.domain.states import RunState
from taskforge.domain.workflow import ActionKind, Workflow
from tests.support.workflows import RETRY_TWICE, make_chain, make_step, make_workflow

REFUSED = StepError(kind=ErrorKind.CONNECT, message="connection refused")
BROKEN = StepError(kind=ErrorKind.STATUS, message="answered 400", status=400)
DONE = Succeeded(output={"ok": True})


class PlayedRun:
    """A run that takes events one by one and remembers what was decided last."""

    def __init__(self, workflow: Workflow) -> None:
        self.snapshot = Snapshot(workflow=workflow, state=RunState.QUEUED)
        self.decisions: tuple[Decision, ...] = ()
        self.queued: tuple[int, ...] = ()
        self.take(Started())

    def take(self, event: Event) -> None:
        result = advance(self.snapshot, event)
        assert isinstance(result, Advanced), result
        self.snapshot, self.decisions, self.queued = result.snapshot, result.decisions, result.queued

    def refusal(self, event: Event) -> str:
        result = advance(self.snapshot, event)
        assert isinstance(result, Refused), result
        return result.reason

    def play(self, id: str, outcome: Outcome = DONE) -> None:
        """Claim a step and report its outcome."""
        self.claim(id)
        self.finish(id, outcome)

    def claim(self, id: str) -> None:
        self.take(Claimed(step=self.index(id)))

    def finish(self, id: str, outcome: Outcome = DONE) -> None:
        self.take(Finished(step=self.index(id), outcome=outcome))

    def index(self, id: str) -> int:
        return self.snapshot.workflow.by_id[id].index

    @property
    def state(self) -> str:
        return self.snapshot.state.value

    @property
    def states(self) -> dict[str, str]:
        return {step.id: self.snapshot.step(step.index).state.value for step in self.snapshot.workflow.steps}

    def decided(self, kind: type[Decision]) -> list[Decision]:
        return [decision for decision in self.decisions if isinstance(decision, kind)]


def http_chain() -> Workflow:
    return make_chain(
        make_step("fetch", ActionKind.HTTP, retry=RETRY_TWICE),
        make_step("shape"),
        make_step("send", ActionKind.HTTP),
    )


def switch_workflow() -> Workflow:
    """A switch with two branches, and a step after it."""
    return make_workflow(
        [
            make_step("route", ActionKind.SWITCH),
            make_step("yes", parent=0, branch=0, needs=(0,)),
            make_step("yes2", parent=0, branch=0, needs=(0, 1)),
            make_step("no", parent=0, branch=1, needs=(0,)),
            make_step("after", needs=(0, 1, 2, 3)),
        ]
    )


def fork() -> Workflow:
    """Two steps that start at once, and one that joins them."""
    return make_workflow(
        [
            make_step("left", ActionKind.HTTP, retry=RETRY_TWICE),
            make_step("right", ActionKind.HTTP),
            make_step("join", needs=(0, 1)),
        ]
    )
