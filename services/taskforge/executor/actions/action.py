"""What every action is given and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from taskforge.domain.outcome import Outcome
from taskforge.domain.workflow import JsonValue, Step
from taskforge.executor.log_lines import Numbers
from taskforge.language.plan import StepPlan
from taskforge.security.masking import Masker


class LogSink(Protocol):
    """Where an action's log lines go."""

    def __call__(self, level: str, message: str, data: JsonValue) -> None:
        """Keep one line; it is masked and stored before the step's outcome is."""


class Attempt(NamedTuple):
    """One attempt of one step, its parameters rendered."""

    run: str  #: its id
    plan: StepPlan
    params: Mapping[str, JsonValue]
    context: Mapping[str, JsonValue]  #: for what is not a template: a switch's conditions
    masker: Masker
    log: LogSink
    numbers: Numbers

    @property
    def step(self) -> Step:
        """The step."""
        return self.plan.step


class Action(Protocol):
    """Runs one kind of step."""

    async def __call__(self, attempt: Attempt) -> Outcome:
        """Do it. Raises StepFault to fail, NotHere to hand the step back; the caller watches the time."""
