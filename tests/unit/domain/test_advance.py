"""The engine's decisions, story by story. The laws that hold for all stories are in `test_advance_walks.py`."""

from __future__ import annotations

from taskforge.domain.advance import advance
from taskforge.domain.outcome import (
    Cancelled,
    ErrorKind,
    Failed,
    Outcome,
    Released,
    Skipped,
    StepError,
    Succeeded,
)
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
    Refused,
    RetryDue,
    RunChanged,
    Snapshot,
    Started,
    StepChanged,
)
from taskforge.domain.states import AttemptOutcome, RunState, StepState
from taskforge.domain.workflow import ActionKind, Effect, OnUnknown, Workflow
from tests.support.workflows import RETRY_TWICE, make_chain, make_step, make_workflow

REFUSED = StepError(kind=ErrorKind.CONNECT, message="connection refused")
BROKEN = StepError(kind=ErrorKind.STATUS, message="answered 400", status=400)
DONE = Succeeded(output={"ok": True})


class Run:
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


# --- the plain way ------------------------------------------------------------------------------


def test_a_new_run_queues_the_steps_that_need_nothing() -> None:
    run = Run(fork())
    assert run.states == {"left": "QUEUED", "right": "QUEUED", "join": "PENDING"}
    assert run.queued == (0, 1)
    assert run.snapshot.state is RunState.QUEUED


def test_the_first_claim_starts_the_run() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    assert run.snapshot.state is RunState.RUNNING
    assert run.snapshot.step(0).attempt == 1
    assert run.snapshot.step(0).token == 1


def test_a_chain_runs_to_its_end() -> None:
    run = Run(http_chain())
    run.play("fetch")
    assert run.queued == (1,)
    run.take(Carried(step=1, outcome=DONE))
    run.play("send")
    assert run.snapshot.state is RunState.SUCCEEDED
    assert set(run.states.values()) == {"SUCCEEDED"}


def test_a_join_waits_for_all_it_needs() -> None:
    run = Run(fork())
    run.play("left")
    assert run.states["join"] == "PENDING"
    run.play("right")
    assert run.states["join"] == "QUEUED"


def test_a_claim_in_the_turn_that_made_the_step_ready_leaves_nothing_queued() -> None:
    run = Run(http_chain())
    run.play("fetch")
    run.claim("shape")
    assert run.queued == ()


def test_a_skipped_step_lets_the_next_one_run() -> None:
    run = Run(http_chain())
    run.play("fetch", Skipped())
    assert run.states["fetch"] == "SKIPPED"
    assert run.states["shape"] == "QUEUED"


def test_an_output_is_written_with_the_step_that_made_it() -> None:
    run = Run(http_chain())
    run.play("fetch", Succeeded(output={"n": 1}))
    written = [change.output for change in run.decided(StepChanged) if isinstance(change, StepChanged)]
    assert written[0] == {"n": 1}


# --- switches -----------------------------------------------------------------------------------


def test_only_the_chosen_branch_runs_and_what_follows_waits_for_it() -> None:
    run = Run(switch_workflow())
    run.play("route", Succeeded(output={"branch": 0}, branch=0))
    assert run.states == {"route": "SUCCEEDED", "yes": "QUEUED", "yes2": "PENDING", "no": "SKIPPED", "after": "PENDING"}
    run.play("yes")
    run.play("yes2")
    assert run.states["after"] == "QUEUED"


def test_no_true_branch_skips_everything_inside() -> None:
    run = Run(switch_workflow())
    run.play("route", Succeeded(output={"branch": None}, branch=-1))
    assert [run.states[id] for id in ("yes", "yes2", "no")] == ["SKIPPED"] * 3
    assert run.states["after"] == "QUEUED"


def test_a_skipped_switch_skips_everything_inside_at_any_depth() -> None:
    run = Run(
        make_workflow(
            [
                make_step("outer", ActionKind.SWITCH),
                make_step("inner", ActionKind.SWITCH, parent=0, branch=0, needs=(0,)),
                make_step("deep", parent=1, branch=0, needs=(1,)),
                make_step("after", needs=(0, 1, 2)),
            ]
        )
    )
    run.play("outer", Skipped())
    assert run.states == {"outer": "SKIPPED", "inner": "SKIPPED", "deep": "SKIPPED", "after": "QUEUED"}


# --- failures and retries -----------------------------------------------------------------------


def test_a_failed_attempt_that_may_be_retried_waits_for_its_delay() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    run.take(Finished(step=0, outcome=Failed(error=REFUSED), jitter=0.5))
    changes = [change for change in run.decisions if isinstance(change, StepChanged)]
    assert (changes[0].after.state, changes[0].delay) == (StepState.RETRYING, 0.5)
    run.take(RetryDue(step=0))
    run.play("fetch")
    assert run.snapshot.step(0).attempt == 2
    assert run.states["shape"] == "QUEUED"


def test_a_step_that_gives_up_fails_the_run_cancels_the_rest_and_leaves_one_dead_letter() -> None:
    run = Run(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    assert run.states == {"fetch": "FAILED", "shape": "CANCELLED", "send": "CANCELLED"}
    assert run.snapshot.state is RunState.FAILED
    assert len(run.decided(DeadLettered)) == 1
    assert run.snapshot.stop_error is not None
    assert run.snapshot.stop_error.message == "step 'fetch' failed: answered 400"


def test_the_last_attempt_fails_the_step() -> None:
    run = Run(http_chain())
    for _ in range(2):
        run.play("fetch", Failed(error=REFUSED))
        run.take(RetryDue(step=0))
    run.play("fetch", Failed(error=REFUSED))
    assert run.states["fetch"] == "FAILED"
    assert run.snapshot.step(0).failures == 3


def test_on_error_continue_lets_the_run_go_on() -> None:
    run = Run(make_chain(make_step("fetch", ActionKind.HTTP, continue_on_error=True), make_step("shape")))
    run.play("fetch", Failed(error=BROKEN))
    assert run.states == {"fetch": "FAILED", "shape": "QUEUED"}
    run.play("shape")
    assert run.snapshot.state is RunState.SUCCEEDED


def test_a_fail_step_fails_the_run_without_a_dead_letter() -> None:
    run = Run(make_chain(make_step("stop", ActionKind.FAIL)))
    run.play("stop", Failed(error=StepError(kind=ErrorKind.FAIL, message="nothing to ship")))
    assert run.snapshot.state is RunState.FAILED
    assert run.decided(DeadLettered) == []


def test_a_failure_beside_a_held_step_waits_for_it() -> None:
    run = Run(fork())
    run.claim("left")
    run.claim("right")
    run.finish("right", Failed(error=BROKEN))
    assert run.snapshot.state is RunState.RUNNING
    run.finish("left")
    assert run.states == {"left": "SUCCEEDED", "right": "FAILED", "join": "CANCELLED"}
    assert run.snapshot.state is RunState.FAILED


def test_nothing_is_retried_once_the_run_is_failing() -> None:
    run = Run(fork())
    run.claim("left")
    run.claim("right")
    run.finish("right", Failed(error=BROKEN))
    run.finish("left", Failed(error=REFUSED))
    assert run.states["left"] == "FAILED"


def test_a_step_that_waits_to_be_retried_is_cancelled_when_another_fails_the_run() -> None:
    run = Run(fork())
    run.play("left", Failed(error=REFUSED))
    run.play("right", Failed(error=BROKEN))
    assert run.states["left"] == "CANCELLED"
    assert run.snapshot.state is RunState.FAILED


# --- lost executors -----------------------------------------------------------------------------


def test_a_lost_executor_costs_a_crash_and_not_an_attempt_of_the_step() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    run.take(LeaseExpired(step=0, max_crashes=3))
    view = run.snapshot.step(0)
    assert (view.state, view.crashes, view.failures) == (StepState.QUEUED, 1, 0)


def test_too_many_lost_executors_fail_the_step() -> None:
    run = Run(http_chain())
    for _ in range(3):
        run.claim("fetch")
        run.take(LeaseExpired(step=0, max_crashes=3))
    assert run.states["fetch"] == "FAILED"
    assert len(run.decided(DeadLettered)) == 1


def test_an_effect_that_nobody_can_vouch_for_is_unknown() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    run.take(LeaseExpired(step=0, max_crashes=3))
    ended = [decision for decision in run.decisions if isinstance(decision, AttemptEnded)]
    assert ended[0].outcome is AttemptOutcome.UNKNOWN


def test_a_request_that_is_safe_to_repeat_has_crashed_instead() -> None:
    run = Run(make_chain(make_step("fetch", ActionKind.HTTP, effect=Effect.IDEMPOTENT)))
    run.claim("fetch")
    run.take(LeaseExpired(step=0, max_crashes=3))
    ended = [decision for decision in run.decisions if isinstance(decision, AttemptEnded)]
    assert ended[0].outcome is AttemptOutcome.CRASHED


def test_on_unknown_fail_never_repeats_the_request() -> None:
    once = make_step("pay", ActionKind.HTTP, effect=Effect.AT_MOST_ONCE, on_unknown=OnUnknown.FAIL)
    run = Run(make_chain(once))
    run.claim("pay")
    run.take(LeaseExpired(step=0, max_crashes=3))
    assert run.states["pay"] == "FAILED"
    assert run.snapshot.stop_error is not None
    assert run.snapshot.stop_error.kind is ErrorKind.UNKNOWN_OUTCOME


def test_a_draining_executor_hands_the_step_back_without_cost() -> None:
    run = Run(http_chain())
    run.play("fetch", Released())
    view = run.snapshot.step(0)
    assert (view.state, view.failures, view.crashes) == (StepState.QUEUED, 0, 0)


# --- cancelling ---------------------------------------------------------------------------------


def test_cancelling_before_anything_ran_ends_the_run_at_once() -> None:
    run = Run(http_chain())
    run.take(CancelRequested(reason="asked"))
    assert run.snapshot.state is RunState.CANCELLED
    assert set(run.states.values()) == {"CANCELLED"}


def test_cancelling_waits_for_the_held_step() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    run.take(CancelRequested())
    assert run.snapshot.state is RunState.CANCELLING
    run.finish("fetch", Cancelled())
    assert run.snapshot.state is RunState.CANCELLED


def test_what_ended_well_while_the_run_was_cancelled_stays_well() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    run.take(CancelRequested())
    run.finish("fetch")
    assert run.states["fetch"] == "SUCCEEDED"
    assert run.snapshot.state is RunState.CANCELLED


def test_a_run_that_times_out_fails_with_that_reason() -> None:
    late = StepError(kind=ErrorKind.RUN_TIMEOUT, message="the run's timeout passed")
    run = Run(http_chain())
    run.claim("fetch")
    run.take(CancelRequested(error=late))
    run.finish("fetch", Cancelled())
    ended = [decision for decision in run.decisions if isinstance(decision, RunChanged)]
    assert (ended[-1].after, ended[-1].error) == (RunState.FAILED, late)


def test_an_executor_lost_while_cancelling_ends_the_step() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    run.take(CancelRequested())
    run.take(LeaseExpired(step=0, max_crashes=3))
    assert run.snapshot.state is RunState.CANCELLED


# --- carrying a run on --------------------------------------------------------------------------


def test_pure_steps_are_carried_without_a_lease_of_their_own() -> None:
    run = Run(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    assert run.states["shape"] == "SUCCEEDED"
    assert run.states["send"] == "QUEUED"


def test_a_carried_step_passes_through_running() -> None:
    run = Run(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    path = [change.after.state for change in run.decisions if isinstance(change, StepChanged) and change.step == 1]
    assert path == [StepState.RUNNING, StepState.SUCCEEDED]
    assert run.snapshot.step(1).attempt == 1


def test_an_effect_is_never_carried() -> None:
    run = Run(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    assert run.refusal(Carried(step=2, outcome=DONE)) == "an effectful step needs its own lease"


def test_an_effectful_step_that_does_not_start_is_carried() -> None:
    run = Run(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    run.take(Carried(step=2, outcome=Skipped()))
    assert run.snapshot.state is RunState.SUCCEEDED


def test_a_step_whose_needs_have_not_ended_is_not_carried() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    assert run.refusal(Carried(step=1, outcome=DONE)) == "step is PENDING, run is RUNNING"


# --- too late, twice, out of order ----------------------------------------------------------------


def test_a_step_is_claimed_once() -> None:
    run = Run(http_chain())
    run.claim("fetch")
    assert run.refusal(Claimed(step=0)) == "step is RUNNING, run is RUNNING"


def test_a_result_counts_once() -> None:
    run = Run(http_chain())
    run.play("fetch")
    assert run.refusal(Finished(step=0, outcome=DONE)) == "step is SUCCEEDED"


def test_nothing_is_claimed_in_a_run_that_is_being_cancelled() -> None:
    run = Run(fork())
    run.claim("left")
    run.take(CancelRequested())
    assert run.refusal(Claimed(step=1)) == "step is CANCELLED, run is CANCELLING"


def test_a_finished_run_cannot_be_cancelled() -> None:
    run = Run(make_chain(make_step("only")))
    run.play("only")
    assert run.refusal(CancelRequested()) == "run is SUCCEEDED"


def test_a_run_starts_once() -> None:
    assert Run(http_chain()).refusal(Started()) == "the run has started already"


# --- redrives -----------------------------------------------------------------------------------


def test_a_redrive_runs_the_failed_step_and_the_rest_after_it() -> None:
    run = Run(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    run.take(Redriven(steps=(0,), actor="me"))
    assert run.states == {"fetch": "QUEUED", "shape": "PENDING", "send": "PENDING"}
    assert (run.snapshot.state, run.snapshot.stop_error) == (RunState.RUNNING, None)
    run.play("fetch")
    run.play("shape")
    run.play("send")
    assert run.snapshot.state is RunState.SUCCEEDED


def test_a_redriven_step_starts_a_new_epoch_and_keeps_its_fence() -> None:
    run = Run(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    run.take(Redriven(steps=(0,)))
    view = run.snapshot.step(0)
    assert (view.epoch, view.attempt, view.failures, view.token) == (1, 0, 0, 1)


def test_one_of_two_failed_steps_is_redriven_in_full_and_the_run_fails_again_for_the_other() -> None:
    run = Run(fork())
    run.claim("left")
    run.claim("right")
    run.finish("left", Failed(error=BROKEN))
    run.finish("right", Failed(error=BROKEN))
    run.take(Redriven(steps=(0,)))
    run.play("left", Failed(error=REFUSED))
    assert run.states["left"] == "RETRYING"
    run.take(RetryDue(step=0))
    run.play("left")
    assert run.states == {"left": "SUCCEEDED", "right": "FAILED", "join": "CANCELLED"}
    assert run.snapshot.state is RunState.FAILED
    assert run.snapshot.stop_error is not None
    assert run.snapshot.stop_error.message == "failed and not run again: right"
    run.take(Redriven(steps=(1,)))
    run.play("right")
    run.play("join")
    assert run.snapshot.state is RunState.SUCCEEDED


def test_a_cancelled_step_is_not_redriven_while_the_failure_that_stopped_it_stays() -> None:
    run = Run(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    reason = "steps were cancelled because others failed; redrive those too: fetch"
    assert run.refusal(Redriven(steps=(1,))) == reason


def test_a_cancelled_run_is_redriven_as_a_whole() -> None:
    run = Run(http_chain())
    run.take(CancelRequested())
    run.take(Redriven(steps=(0, 1, 2)))
    assert run.states == {"fetch": "QUEUED", "shape": "PENDING", "send": "PENDING"}


def test_only_failed_and_cancelled_steps_are_redriven() -> None:
    run = Run(http_chain())
    run.play("fetch")
    run.play("shape", Failed(error=BROKEN))
    assert run.refusal(Redriven(steps=(0,))) == "not failed: fetch"
    assert run.refusal(Redriven(steps=())) == "no step to redrive"


def test_a_run_that_went_well_is_not_redriven() -> None:
    run = Run(make_chain(make_step("only")))
    run.play("only")
    assert run.refusal(Redriven(steps=(0,))) == "run is SUCCEEDED"
