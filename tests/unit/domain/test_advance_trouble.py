"""The engine's decisions when things go wrong: failures, lost executors, cancelling, redrives."""

from __future__ import annotations

from taskforge.domain.outcome import Cancelled, ErrorKind, Failed, Released, StepError
from taskforge.domain.run import (
    AttemptEnded,
    CancelRequested,
    DeadLettered,
    Finished,
    LeaseExpired,
    Redriven,
    RetryDue,
    RunChanged,
    StepChanged,
)
from taskforge.domain.states import AttemptOutcome, RunState, StepState
from taskforge.domain.workflow import ActionKind, Effect, OnUnknown
from tests.support.played_run import BROKEN, REFUSED, PlayedRun, fork, http_chain
from tests.support.workflows import make_chain, make_step

# --- failures and retries -----------------------------------------------------------------------


def test_a_failed_attempt_that_may_be_retried_waits_for_its_delay() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(Finished(step=0, outcome=Failed(error=REFUSED), jitter=0.5))
    changes = [change for change in run.decisions if isinstance(change, StepChanged)]
    assert (changes[0].after.state, changes[0].delay) == (StepState.RETRYING, 0.5)
    run.take(RetryDue(step=0))
    run.play("fetch")
    assert run.snapshot.step(0).attempt == 2
    assert run.states["shape"] == "QUEUED"


def test_a_step_that_gives_up_fails_the_run_cancels_the_rest_and_leaves_one_dead_letter() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    assert run.states == {"fetch": "FAILED", "shape": "CANCELLED", "send": "CANCELLED"}
    assert run.state == "FAILED"
    assert len(run.decided(DeadLettered)) == 1
    assert run.snapshot.stop_error is not None
    assert run.snapshot.stop_error.message == "step 'fetch' failed: answered 400"


def test_the_last_attempt_fails_the_step() -> None:
    run = PlayedRun(http_chain())
    for _ in range(2):
        run.play("fetch", Failed(error=REFUSED))
        run.take(RetryDue(step=0))
    run.play("fetch", Failed(error=REFUSED))
    assert run.states["fetch"] == "FAILED"
    assert run.snapshot.step(0).failures == 3


def test_on_error_continue_lets_the_run_go_on() -> None:
    run = PlayedRun(make_chain(make_step("fetch", ActionKind.HTTP, continue_on_error=True), make_step("shape")))
    run.play("fetch", Failed(error=BROKEN))
    assert run.states == {"fetch": "FAILED", "shape": "QUEUED"}
    run.play("shape")
    assert run.state == "SUCCEEDED"


def test_a_fail_step_fails_the_run_without_a_dead_letter() -> None:
    run = PlayedRun(make_chain(make_step("stop", ActionKind.FAIL)))
    run.play("stop", Failed(error=StepError(kind=ErrorKind.FAIL, message="nothing to ship")))
    assert run.state == "FAILED"
    assert run.decided(DeadLettered) == []


def test_a_failure_beside_a_held_step_waits_for_it() -> None:
    run = PlayedRun(fork())
    run.claim("left")
    run.claim("right")
    run.finish("right", Failed(error=BROKEN))
    assert run.state == "RUNNING"
    run.finish("left")
    assert run.states == {"left": "SUCCEEDED", "right": "FAILED", "join": "CANCELLED"}
    assert run.state == "FAILED"


def test_nothing_is_retried_once_the_run_is_failing() -> None:
    run = PlayedRun(fork())
    run.claim("left")
    run.claim("right")
    run.finish("right", Failed(error=BROKEN))
    run.finish("left", Failed(error=REFUSED))
    assert run.states["left"] == "FAILED"


def test_a_step_that_waits_to_be_retried_is_cancelled_when_another_fails_the_run() -> None:
    run = PlayedRun(fork())
    run.play("left", Failed(error=REFUSED))
    run.play("right", Failed(error=BROKEN))
    assert run.states["left"] == "CANCELLED"
    assert run.state == "FAILED"


# --- lost executors -----------------------------------------------------------------------------


def test_a_lost_executor_costs_a_crash_and_not_an_attempt_of_the_step() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(LeaseExpired(step=0, max_crashes=3))
    view = run.snapshot.step(0)
    assert (view.state, view.crashes, view.failures) == (StepState.QUEUED, 1, 0)


def test_too_many_lost_executors_fail_the_step() -> None:
    run = PlayedRun(http_chain())
    for _ in range(3):
        run.claim("fetch")
        run.take(LeaseExpired(step=0, max_crashes=3))
    assert run.states["fetch"] == "FAILED"
    assert len(run.decided(DeadLettered)) == 1


def test_an_effect_that_nobody_can_vouch_for_is_unknown() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(LeaseExpired(step=0, max_crashes=3))
    ended = [decision for decision in run.decisions if isinstance(decision, AttemptEnded)]
    assert ended[0].outcome is AttemptOutcome.UNKNOWN


def test_a_request_that_is_safe_to_repeat_has_crashed_instead() -> None:
    run = PlayedRun(make_chain(make_step("fetch", ActionKind.HTTP, effect=Effect.IDEMPOTENT)))
    run.claim("fetch")
    run.take(LeaseExpired(step=0, max_crashes=3))
    ended = [decision for decision in run.decisions if isinstance(decision, AttemptEnded)]
    assert ended[0].outcome is AttemptOutcome.CRASHED


def test_on_unknown_fail_never_repeats_the_request() -> None:
    once = make_step("pay", ActionKind.HTTP, effect=Effect.AT_MOST_ONCE, on_unknown=OnUnknown.FAIL)
    run = PlayedRun(make_chain(once))
    run.claim("pay")
    run.take(LeaseExpired(step=0, max_crashes=3))
    assert run.states["pay"] == "FAILED"
    assert run.snapshot.stop_error is not None
    assert run.snapshot.stop_error.kind is ErrorKind.UNKNOWN_OUTCOME


def test_a_draining_executor_hands_the_step_back_without_cost() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Released())
    view = run.snapshot.step(0)
    assert (view.state, view.failures, view.crashes) == (StepState.QUEUED, 0, 0)


# --- cancelling ---------------------------------------------------------------------------------


def test_cancelling_before_anything_ran_ends_the_run_at_once() -> None:
    run = PlayedRun(http_chain())
    run.take(CancelRequested(reason="asked"))
    assert run.state == "CANCELLED"
    assert set(run.states.values()) == {"CANCELLED"}


def test_cancelling_waits_for_the_held_step() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(CancelRequested())
    assert run.state == "CANCELLING"
    run.finish("fetch", Cancelled())
    assert run.state == "CANCELLED"


def test_what_ended_well_while_the_run_was_cancelled_stays_well() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(CancelRequested())
    run.finish("fetch")
    assert run.states["fetch"] == "SUCCEEDED"
    assert run.state == "CANCELLED"


def test_a_run_that_times_out_fails_with_that_reason() -> None:
    late = StepError(kind=ErrorKind.RUN_TIMEOUT, message="the run's timeout passed")
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(CancelRequested(error=late))
    run.finish("fetch", Cancelled())
    ended = [decision for decision in run.decisions if isinstance(decision, RunChanged)]
    assert (ended[-1].after, ended[-1].error) == (RunState.FAILED, late)


def test_an_executor_lost_while_cancelling_ends_the_step() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    run.take(CancelRequested())
    run.take(LeaseExpired(step=0, max_crashes=3))
    assert run.state == "CANCELLED"


# --- redrives -----------------------------------------------------------------------------------


def test_a_redrive_runs_the_failed_step_and_the_rest_after_it() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    run.take(Redriven(steps=(0,), actor="me"))
    assert run.states == {"fetch": "QUEUED", "shape": "PENDING", "send": "PENDING"}
    assert (run.state, run.snapshot.stop_error) == ("RUNNING", None)
    run.play("fetch")
    run.play("shape")
    run.play("send")
    assert run.state == "SUCCEEDED"


def test_a_redriven_step_starts_a_new_epoch_and_keeps_its_fence() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    run.take(Redriven(steps=(0,)))
    view = run.snapshot.step(0)
    assert (view.epoch, view.attempt, view.failures, view.token) == (1, 0, 0, 1)


def test_one_of_two_failed_steps_is_redriven_in_full_and_the_run_fails_again_for_the_other() -> None:
    run = PlayedRun(fork())
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
    assert run.state == "FAILED"
    assert run.snapshot.stop_error is not None
    assert run.snapshot.stop_error.message == "failed and not run again: right"
    run.take(Redriven(steps=(1,)))
    run.play("right")
    run.play("join")
    assert run.state == "SUCCEEDED"


def test_a_cancelled_step_is_not_redriven_while_the_failure_that_stopped_it_stays() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Failed(error=BROKEN))
    reason = "steps were cancelled because others failed; redrive those too: fetch"
    assert run.refusal(Redriven(steps=(1,))) == reason


def test_a_cancelled_run_is_redriven_as_a_whole() -> None:
    run = PlayedRun(http_chain())
    run.take(CancelRequested())
    run.take(Redriven(steps=(0, 1, 2)))
    assert run.states == {"fetch": "QUEUED", "shape": "PENDING", "send": "PENDING"}


def test_only_failed_and_cancelled_steps_are_redriven() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    run.play("shape", Failed(error=BROKEN))
    assert run.refusal(Redriven(steps=(0,))) == "not failed: fetch"
    assert run.refusal(Redriven(steps=())) == "no step to redrive"


def test_a_run_that_went_well_is_not_redriven() -> None:
    run = PlayedRun(make_chain(make_step("only")))
    run.play("only")
    assert run.refusal(Redriven(steps=(0,))) == "run is SUCCEEDED"
