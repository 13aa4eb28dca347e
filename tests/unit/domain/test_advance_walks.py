"""Laws of the engine, on random workflows and random histories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from taskforge.domain.advance import advance
from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Outcome, Released, Skipped, StepError, Succeeded
from taskforge.domain.run import (
    Advanced,
    AttemptEnded,
    CancelRequested,
    Carried,
    Claimed,
    DeadLettered,
    Decision,
    Event,
    Finished,
    LeaseExpired,
    Redriven,
    RetryDue,
    RunChanged,
    Snapshot,
    Started,
    StepChanged,
    StepView,
)
from taskforge.domain.states import RUN_FINAL, RUN_TRANSITIONS, STEP_FINAL, STEP_TRANSITIONS, RunState, StepState
from taskforge.domain.workflow import ActionKind, Effect, OnUnknown, Step, Workflow
from tests.support.workflows import RETRY_TWICE, make_step, make_workflow

ERRORS = [
    StepError(kind=ErrorKind.CONNECT, message="refused"),
    StepError(kind=ErrorKind.STATUS, message="500", status=500),
    StepError(kind=ErrorKind.STATUS, message="404", status=404),
    StepError(kind=ErrorKind.TIMEOUT, message="late"),
    StepError(kind=ErrorKind.EXPRESSION, message="no key"),
]
KINDS = [ActionKind.HTTP, ActionKind.HTTP, ActionKind.TRANSFORM, ActionKind.LOG, ActionKind.SWITCH]
MAX_CRASHES = 3
STEPS = 8
EVENTS = 60


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Steps that need steps above them; some are nested in switches, as the language nests them."""
    steps: list[Step] = []
    for index in range(draw(st.integers(1, STEPS))):
        kind = draw(st.sampled_from(KINDS))
        parents = [step.index for step in steps if step.kind is ActionKind.SWITCH]
        parent = draw(st.sampled_from([None, *parents]))
        needs = set(draw(st.lists(st.integers(0, index - 1), max_size=3))) if index else set()
        needs |= {nested.index for need in needs for nested in steps if nested.parent == need and need != parent}
        is_http = kind is ActionKind.HTTP
        step = make_step(
            f"s{index}",
            kind,
            index=index,
            parent=parent,
            branch=draw(st.integers(0, 1)) if parent is not None else None,
            needs=tuple(sorted(needs | ({parent} if parent is not None else set()))),
            retry=RETRY_TWICE,
            continue_on_error=draw(st.booleans()),
            effect=draw(st.sampled_from([Effect.IDEMPOTENT, Effect.AT_LEAST_ONCE])) if is_http else Effect.PURE,
            on_unknown=draw(st.sampled_from(OnUnknown)),
        )
        steps.append(step)
    return make_workflow(steps)


#: What can happen, as plain numbers: a kind, a step, and a choice that the kind reads as it likes.
happenings = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, STEPS - 1), st.integers(0, 11)), min_size=1, max_size=EVENTS
)


def make_outcome(step: Step, choice: int) -> Outcome:
    if choice < len(ERRORS):
        return Failed(error=ERRORS[choice])
    match choice:
        case 5:
            return Skipped()
        case 6:
            return Released()
        case 7:
            return Cancelled()
        case _:
            branch = choice % 3 - 1 if step.kind is ActionKind.SWITCH else None
            return Succeeded(output=1, branch=branch)


def make_event(workflow: Workflow, kind: int, step: int, choice: int) -> Event:
    """Anything at any time: most of it is refused, and nothing may break."""
    step %= len(workflow.steps)
    outcome = make_outcome(workflow.steps[step], choice)
    match kind:
        case 0 | 1 | 2:
            return Claimed(step=step)
        case 3 | 4 | 5:
            return Finished(step=step, outcome=outcome, jitter=0.5)
        case 6:
            return Carried(step=step, outcome=outcome)
        case 7:
            return LeaseExpired(step=step, max_crashes=MAX_CRASHES)
        case 8:
            return RetryDue(step=step)
        case 9:
            return CancelRequested(error=ERRORS[3] if choice % 2 else None) if choice < 4 else Started()
        case _:
            steps = {step, choice % len(workflow.steps)} if choice < 8 else {step}
            return Redriven(steps=tuple(sorted(steps)))


class Walk:
    """A run under random events, with every law checked at every event."""

    def __init__(self, workflow: Workflow) -> None:
        self.snapshot = Snapshot(workflow=workflow, state=RunState.QUEUED)
        self.tokens: Counter[int] = Counter()
        self.letters: Counter[tuple[int, int]] = Counter()
        self.attempts: Counter[tuple[int, int, int]] = Counter()
        self.take(Started())

    def take(self, event: Event) -> bool:
        before = self.snapshot
        result = advance(before, event)
        if not isinstance(result, Advanced):
            assert result.reason
            return False
        self.snapshot = result.snapshot
        self._check_paths(before, result.decisions, redriven=isinstance(event, Redriven))
        self._check_ends(before, result.decisions)
        self._check_queue(before, result)
        self._check_shape()
        return True

    def _check_paths(self, before: Snapshot, decisions: Sequence[Decision], *, redriven: bool) -> None:
        """Decisions join without gaps, move only along arrows, and lead from one snapshot to the next."""
        views = dict(before.steps)
        state = before.state
        for decision in decisions:
            if isinstance(decision, StepChanged):
                assert decision.before == views.get(decision.step, StepView())
                assert decision.after.state in STEP_TRANSITIONS[decision.before.state], decision
                assert decision.before.state not in STEP_FINAL or redriven
                views[decision.step] = decision.after
                self._check_token(decision)
            elif isinstance(decision, RunChanged):
                assert decision.before is state
                assert decision.after in RUN_TRANSITIONS[state]
                assert state not in RUN_FINAL or redriven
                state = decision.after
        assert views == self.snapshot.steps
        assert state is self.snapshot.state

    def _check_token(self, change: StepChanged) -> None:
        assert change.after.token >= self.tokens[change.step]
        started = change.after.state is StepState.RUNNING and change.before.state is not StepState.RUNNING
        if started:
            assert change.after.token > self.tokens[change.step]
        self.tokens[change.step] = change.after.token

    def _check_ends(self, before: Snapshot, decisions: Sequence[Decision]) -> None:
        """An attempt ends once; a step that gave up leaves one dead letter an epoch."""
        for decision in decisions:
            if isinstance(decision, AttemptEnded):
                self.attempts[decision.step, decision.epoch, decision.attempt] += 1
            elif isinstance(decision, DeadLettered):
                self.letters[decision.step, decision.epoch] += 1
        assert set(self.attempts.values()) <= {1}
        assert set(self.letters.values()) <= {1}
        for index, view in self.snapshot.steps.items():
            if view.state is StepState.FAILED and before.step(index).state is not StepState.FAILED:
                assert self.letters[index, view.epoch] == 1

    def _check_queue(self, before: Snapshot, result: Advanced) -> None:
        after = {index for index, view in self.snapshot.steps.items() if view.state is StepState.QUEUED}
        was = {index for index, view in before.steps.items() if view.state is StepState.QUEUED}
        assert set(result.queued) == after - was
        assert len(result.queued) == len(set(result.queued))

    def _check_shape(self) -> None:
        """What must be true of any snapshot."""
        snapshot = self.snapshot
        if snapshot.state in RUN_FINAL:
            assert all(snapshot.step(step.index).is_final for step in snapshot.workflow.steps)
        for step in snapshot.workflow.steps:
            view = snapshot.step(step.index)
            assert view.crashes <= MAX_CRASHES
            assert view.failures <= view.attempt
            if view.state in (StepState.QUEUED, StepState.RUNNING, StepState.SUCCEEDED):
                # A failed step whose failure was let pass may be redriven beneath the steps that went on without it.
                assert all(snapshot.step(need).is_final or snapshot.step(need).epoch for need in step.needs)
        if snapshot.state is RunState.SUCCEEDED:
            failed = [i for i, view in snapshot.steps.items() if view.state is StepState.FAILED]
            assert all(snapshot.workflow.steps[i].continue_on_error for i in failed)
        if snapshot.state is RunState.FAILED:
            assert snapshot.stop_error is not None

    @property
    def state(self) -> str:
        return self.snapshot.state.value

    def finish(self) -> None:
        """Let executors do their work: every claim ends well, every delay passes."""
        for _ in range(20 * STEPS):
            if self.snapshot.state in RUN_FINAL:
                return
            moves = [self._next_move(index, view) for index, view in sorted(self.snapshot.steps.items())]
            possible = [move for move in moves if move is not None]
            assert possible, f"stuck: {self.snapshot}"
            assert self.take(possible[0])
        raise AssertionError(f"does not end: {self.snapshot}")

    def _next_move(self, index: int, view: StepView) -> Event | None:
        match view.state:
            case StepState.QUEUED:
                return Claimed(step=index)
            case StepState.RETRYING:
                return RetryDue(step=index)
            case StepState.RUNNING:
                branch = 0 if self.snapshot.workflow.steps[index].kind is ActionKind.SWITCH else None
                return Finished(step=index, outcome=Succeeded(output=1, branch=branch))
            case _:
                return None


def walked(workflow: Workflow, history: Sequence[tuple[int, int, int]]) -> Walk:
    walk = Walk(workflow)
    for kind, step, choice in history:
        walk.take(make_event(workflow, kind, step, choice))
    return walk


@settings(max_examples=200, deadline=None)
@given(workflow=workflows(), history=happenings)
def test_whatever_happens_every_decision_is_legal_and_the_run_can_end(
    workflow: Workflow, history: list[tuple[int, int, int]]
) -> None:
    walked(workflow, history).finish()


@settings(max_examples=50, deadline=None)
@given(workflow=workflows())
def test_a_run_without_trouble_succeeds_and_runs_each_step_at_most_once(workflow: Workflow) -> None:
    walk = Walk(workflow)
    walk.finish()
    assert walk.state == "SUCCEEDED"
    assert all(view.attempt <= 1 for view in walk.snapshot.steps.values())


@settings(max_examples=100, deadline=None)
@given(workflow=workflows(), history=happenings)
def test_a_failed_run_that_is_redriven_as_a_whole_can_succeed(
    workflow: Workflow, history: list[tuple[int, int, int]]
) -> None:
    walk = walked(workflow, history)
    walk.finish()
    again = tuple(
        index
        for index, view in sorted(walk.snapshot.steps.items())
        if view.state in (StepState.FAILED, StepState.CANCELLED)
    )
    if walk.state != "SUCCEEDED" and again:
        assert walk.take(Redriven(steps=again))
        walk.finish()
        assert walk.state == "SUCCEEDED"
