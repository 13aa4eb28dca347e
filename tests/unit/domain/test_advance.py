"""The engine's decisions, story by story. The laws that hold for all stories are in `test_advance_walks.py`."""

from __future__ import annotations

from taskforge.domain.outcome import Skipped, Succeeded
from taskforge.domain.run import (
    CancelRequested,
    Carried,
    Claimed,
    Finished,
    Started,
    StepChanged,
)
from taskforge.domain.states import StepState
from taskforge.domain.workflow import ActionKind
from tests.support.played_run import DONE, PlayedRun, fork, http_chain, switch_workflow
from tests.support.workflows import make_chain, make_step, make_workflow

# --- the plain way ------------------------------------------------------------------------------


def test_a_new_run_queues_the_steps_that_need_nothing() -> None:
    run = PlayedRun(fork())
    assert run.states == {"left": "QUEUED", "right": "QUEUED", "join": "PENDING"}
    assert run.queued == (0, 1)
    assert run.state == "QUEUED"


def test_the_first_claim_starts_the_run() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    assert run.state == "RUNNING"
    assert run.snapshot.step(0).attempt == 1
    assert run.snapshot.step(0).token == 1


def test_a_chain_runs_to_its_end() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    assert run.queued == (1,)
    run.take(Carried(step=1, outcome=DONE))
    run.play("send")
    assert run.state == "SUCCEEDED"
    assert set(run.states.values()) == {"SUCCEEDED"}


def test_a_join_waits_for_all_it_needs() -> None:
    run = PlayedRun(fork())
    run.play("left")
    assert run.states["join"] == "PENDING"
    run.play("right")
    assert run.states["join"] == "QUEUED"


def test_a_claim_in_the_turn_that_made_the_step_ready_leaves_nothing_queued() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    run.claim("shape")
    assert run.queued == ()


def test_a_skipped_step_lets_the_next_one_run() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Skipped())
    assert run.states["fetch"] == "SKIPPED"
    assert run.states["shape"] == "QUEUED"


def test_an_output_is_written_with_the_step_that_made_it() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch", Succeeded(output={"n": 1}))
    written = [change.output for change in run.decided(StepChanged) if isinstance(change, StepChanged)]
    assert written[0] == {"n": 1}


# --- switches -----------------------------------------------------------------------------------


def test_only_the_chosen_branch_runs_and_what_follows_waits_for_it() -> None:
    run = PlayedRun(switch_workflow())
    run.play("route", Succeeded(output={"branch": 0}, branch=0))
    assert run.states == {"route": "SUCCEEDED", "yes": "QUEUED", "yes2": "PENDING", "no": "SKIPPED", "after": "PENDING"}
    run.play("yes")
    run.play("yes2")
    assert run.states["after"] == "QUEUED"


def test_no_true_branch_skips_everything_inside() -> None:
    run = PlayedRun(switch_workflow())
    run.play("route", Succeeded(output={"branch": None}, branch=-1))
    assert [run.states[id] for id in ("yes", "yes2", "no")] == ["SKIPPED"] * 3
    assert run.states["after"] == "QUEUED"


def test_a_skipped_switch_skips_everything_inside_at_any_depth() -> None:
    run = PlayedRun(
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


# --- carrying a run on --------------------------------------------------------------------------


def test_pure_steps_are_carried_without_a_lease_of_their_own() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    assert run.states["shape"] == "SUCCEEDED"
    assert run.states["send"] == "QUEUED"


def test_a_carried_step_passes_through_running() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    path = [change.after.state for change in run.decisions if isinstance(change, StepChanged) and change.step == 1]
    assert path == [StepState.RUNNING, StepState.SUCCEEDED]
    assert run.snapshot.step(1).attempt == 1


def test_an_effect_is_never_carried() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    assert run.refusal(Carried(step=2, outcome=DONE)) == "an effectful step needs its own lease"


def test_an_effectful_step_that_does_not_start_is_carried() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    run.take(Carried(step=1, outcome=DONE))
    run.take(Carried(step=2, outcome=Skipped()))
    assert run.state == "SUCCEEDED"


def test_a_step_whose_needs_have_not_ended_is_not_carried() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    assert run.refusal(Carried(step=1, outcome=DONE)) == "step is PENDING, run is RUNNING"


# --- too late, twice, out of order ----------------------------------------------------------------


def test_a_step_is_claimed_once() -> None:
    run = PlayedRun(http_chain())
    run.claim("fetch")
    assert run.refusal(Claimed(step=0)) == "step is RUNNING, run is RUNNING"


def test_a_result_counts_once() -> None:
    run = PlayedRun(http_chain())
    run.play("fetch")
    assert run.refusal(Finished(step=0, outcome=DONE)) == "step is SUCCEEDED"


def test_nothing_is_claimed_in_a_run_that_is_being_cancelled() -> None:
    run = PlayedRun(fork())
    run.claim("left")
    run.take(CancelRequested())
    assert run.refusal(Claimed(step=1)) == "step is CANCELLED, run is CANCELLING"


def test_a_finished_run_cannot_be_cancelled() -> None:
    run = PlayedRun(make_chain(make_step("only")))
    run.play("only")
    assert run.refusal(CancelRequested()) == "run is SUCCEEDED"


def test_a_run_starts_once() -> None:
    assert PlayedRun(http_chain()).refusal(Started()) == "the run has started already"
