"""Every step that gave up is kept until somebody has decided about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from taskforge.domain.states import DeadLetterState, StepState
from taskforge.invariants.rows import History, Violation, workflow_of


def letters_match_steps(history: History) -> Iterator[Violation]:
    """I18: an epoch of a step has one dead letter at most; an open one is of a FAILED step, a redriven one is not."""
    steps = {(step.run_id, step.step): step for step in history.steps}
    counts = Counter((letter.run_id, letter.step, letter.epoch) for letter in history.letters)
    for (run_id, step_index, epoch), count in counts.items():
        if count > 1:
            message = f"{count} dead letters in epoch {epoch}"
            yield Violation(invariant="I18", run_id=run_id, step=step_index, message=message)
    for letter in history.letters:
        step = steps.get((letter.run_id, letter.step))
        current = step is not None and step.epoch == letter.epoch
        state = step.state if step is not None and current else "elsewhere"
        if letter.state == DeadLetterState.OPEN and state != StepState.FAILED:
            message = f"an open dead letter in epoch {letter.epoch}, where the step is {state}"
            yield Violation(invariant="I18", run_id=letter.run_id, step=letter.step, message=message)
        if letter.state == DeadLetterState.REDRIVEN and current:
            message = f"epoch {letter.epoch} is said to be redriven, but the step is still in it"
            yield Violation(invariant="I18", run_id=letter.run_id, step=letter.step, message=message)


def failed_steps_have_letters(history: History) -> Iterator[Violation]:
    """I18: each time that a step failed for good there is a dead letter, unless failing is what it is for."""
    kept = {(letter.run_id, letter.step, letter.epoch) for letter in history.letters}
    workflows = {run.run_id: workflow_of(history, run) for run in history.runs}
    for event in history.events:
        workflow = workflows.get(event.run_id)
        if workflow is None or event.step is None or event.step >= len(workflow.steps):
            continue
        gave_up = event.to_state == StepState.FAILED and workflow.steps[event.step].makes_dead_letter
        if gave_up and (event.run_id, event.step, event.epoch) not in kept:
            message = f"failed in epoch {event.epoch}, and there is no dead letter of it"
            yield Violation(invariant="I18", run_id=event.run_id, step=event.step, message=message)


def closed_letters_were_audited(history: History) -> Iterator[Violation]:
    """I18: a dead letter is closed only by a call that the audit log has."""
    for letter in history.letters:
        if letter.state != DeadLetterState.OPEN and letter.audited is False:
            message = (
                f"the dead letter of epoch {letter.epoch} is {letter.state}, and the audit log does not say by whom"
            )
            yield Violation(invariant="I18", run_id=letter.run_id, step=letter.step, message=message)
