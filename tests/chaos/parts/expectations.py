"""What operators must find, whatever happened meanwhile: the product's promises as a model in memory.

One client at a time is modelled. A call that may have been done, because nobody answered, is repeated until somebody
does; `perhaps` says that this was the case, and widens what the answer may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a workflow's runs do."""

    GOOD = "good"
    BAD = "bad"  #: gives up at once and leaves a dead letter
    SLOW = "slow"  #: long enough to be cancelled


_ENDS = {Kind.GOOD: "SUCCEEDED", Kind.BAD: "FAILED", Kind.SLOW: "SUCCEEDED"}
#: What fails while its run is being cancelled leaves one, too.
_NEW_LETTERS = {"SUCCEEDED": (0,), "FAILED": (1,), "CANCELLED": (0, 1)}
_RETRYABLE = ("FAILED", "CANCELLED")
OK = "OK"


@dataclass(slots=True, kw_only=True)
class ModelRun:
    """A run and what is known of it. `ends` are the states that it may end in; `letters` those of its dead letters."""

    name: str
    workflow: str
    request_id: str
    kind: Kind
    ends: frozenset[str]
    ended: str = ""  #: the state in which it rests; empty while nobody has looked
    letters: dict[str, str] = field(default_factory=dict)  #: by name; complete while it rests


class Model:
    """Workflows and their runs. Each method takes an answer, and returns what is wrong with it, or nothing."""

    def __init__(self, names: Sequence[str]) -> None:
        self.workflows: dict[str, Kind | None] = dict.fromkeys(names)
        self.runs: dict[str, ModelRun] = {}

    def applied(self, name: str, kind: Kind, answer: str) -> str:
        """A definition is stored, or replaced, or was the same."""
        self.workflows[name] = kind
        return _unless(answer == OK, f"apply of {name} answered {answer}")

    def deleted(self, name: str, answer: str, *, perhaps: bool) -> str:
        """What is there can be deleted, once."""
        was_there = self.workflows[name] is not None
        self.workflows[name] = None
        allowed = {OK} if was_there else {"WORKFLOW_NOT_FOUND"}
        return _unless(answer in allowed | _if(perhaps, "WORKFLOW_NOT_FOUND"), f"delete of {name} answered {answer}")

    def started(self, workflow: str, request_id: str, answer: str, run: str) -> str:
        """A workflow that is there starts a run, the same for the same request."""
        kind = self.workflows[workflow]
        if kind is None:
            return _unless(answer == "WORKFLOW_NOT_FOUND", f"start of the missing {workflow} answered {answer}")
        if answer != OK:
            return f"start of {workflow} answered {answer}"
        same = [one.name for one in self.runs.values() if one.request_id == request_id]
        if same:
            return _unless(same == [run], f"the request {request_id} was answered with {run} after {same}")
        ends = frozenset({_ENDS[kind]})
        self.runs[run] = ModelRun(name=run, workflow=workflow, request_id=request_id, kind=kind, ends=ends)
        return ""

    def cancelled(self, run: ModelRun, answer: str, *, perhaps: bool) -> str:
        """A run that has not ended is stopped, and then ends CANCELLED and not otherwise."""
        if run.ended:
            return _unless(answer == "RUN_FINISHED", f"cancel of {run.name}, {run.ended}, answered {answer}")
        if answer == OK:
            run.ends = frozenset({"CANCELLED"})
        elif perhaps:
            run.ends |= {"CANCELLED"}
        return _unless(answer in {OK, "RUN_FINISHED"}, f"cancel of {run.name} answered {answer}")

    def rested(self, run: ModelRun, state: str, letters: Mapping[str, str]) -> str:
        """A run has ended; its dead letters are those of before, and one more at most."""
        old = {name: letters.get(name, "gone") for name in run.letters}
        new = {name: letter for name, letter in letters.items() if name not in run.letters}
        if old != run.letters:
            return f"the dead letters of {run.name} were {run.letters} and are {old}"
        if set(new.values()) - {"OPEN"} or len(new) not in _NEW_LETTERS[state]:
            return f"{run.name} has ended {state} and has the new dead letters {new}"
        wrong = _unless(state in run.ends, f"{run.name} ended {state}, not {sorted(run.ends)}")
        run.ended, run.letters, run.ends = state, dict(letters), frozenset({state})
        return wrong

    def retried(self, run: ModelRun, answer: str, *, perhaps: bool, has_failed_steps: bool) -> str:
        """A run that rests can run again unless it has succeeded, or nothing of it has failed."""
        can = run.ended in _RETRYABLE and has_failed_steps
        allowed = {OK} if can else {"RUN_NOT_RETRYABLE"}
        wrong = _unless(
            answer in allowed | _if(perhaps, "RUN_NOT_RETRYABLE"),
            f"retry of {run.name}, {run.ended}, answered {answer}",
        )
        if can:
            run.letters = {name: "REDRIVEN" if state == "OPEN" else state for name, state in run.letters.items()}
            self._runs_again(run)
        return wrong

    def redriven(self, run: ModelRun, letter: str, answer: str, *, perhaps: bool) -> str:
        """An open dead letter's step runs again."""
        was_open = run.letters[letter] == "OPEN"
        wrong = self._closed(run, letter, "REDRIVEN", answer, perhaps=perhaps)
        if was_open:
            self._runs_again(run)
        return wrong

    def discarded(self, run: ModelRun, letter: str, answer: str, *, perhaps: bool) -> str:
        """An open dead letter is closed, and nothing runs."""
        return self._closed(run, letter, "DISCARDED", answer, perhaps=perhaps)

    def _closed(self, run: ModelRun, letter: str, state: str, answer: str, *, perhaps: bool) -> str:
        before = run.letters[letter]
        allowed = {OK} if before == "OPEN" else {"DEAD_LETTER_CLOSED"}
        if before == "OPEN":
            run.letters[letter] = state
        wrong = f"{letter}, {before}, was to be {state} and answered {answer}"
        return _unless(answer in allowed | _if(perhaps, "DEAD_LETTER_CLOSED"), wrong)

    @staticmethod
    def _runs_again(run: ModelRun) -> None:
        run.ended = ""
        run.ends = frozenset({_ENDS[run.kind]})


def _if(condition: bool, answer: str) -> set[str]:
    return {answer} if condition else set()


def _unless(condition: bool, wrong: str) -> str:
    return "" if condition else wrong
