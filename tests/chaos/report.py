"""What an experiment found, on a screen, as JSON and as a table for the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.experiment import Experiment

_SHOWN_VIOLATIONS = 8


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One experiment, done once."""

    id: str
    title: str
    threshold: str
    seed: int
    scale: float
    seconds: float = 0.0
    runs: int = 0
    injections: Counter[str] = field(default_factory=Counter)
    measures: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    skipped: str = ""  #: why it could not be done on this machine

    @classmethod
    def of(cls, experiment: Experiment, *, seed: int, scale: float) -> Outcome:
        """An empty one."""
        return cls(id=experiment.id, title=experiment.title, threshold=experiment.threshold, seed=seed, scale=scale)

    @property
    def verdict(self) -> str:
        """`ok`, `skipped` or `FAILED`."""
        if self.violations:
            return "FAILED"
        return "skipped" if self.skipped else "ok"

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        return {**asdict(self), "injections": dict(self.injections), "verdict": self.verdict}

    def lines(self) -> list[str]:
        """For a person."""
        found = [f"{self.id}  {self.verdict:7} {self.seconds:6.1f} s  {self.runs:5} runs  {self.title}"]
        if self.skipped:
            found.append(f"     not here: {self.skipped}")
        if self.injections:
            found.append(f"     injected: {_counted(self.injections)}")
        if self.measures:
            found.append("     measured: " + ", ".join(f"{name} {value:.3g}" for name, value in self.measures.items()))
        found += [f"     violated: {violation}" for violation in self.violations[:_SHOWN_VIOLATIONS]]
        if len(self.violations) > _SHOWN_VIOLATIONS:
            found.append(f"     … and {len(self.violations) - _SHOWN_VIOLATIONS} more")
        if self.violations:
            found.append(f"     again:    tests/chaos/run --seed {self.seed} --scale {self.scale:g} {self.id}")
        return found


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table: fault, injections, runs, violations."""
    rows = ["| fault | what was done | injections | runs | violations |", "|---|---|---|---|---|"]
    for outcome in sorted(outcomes, key=lambda one: int(one.id[1:])):
        done = _counted(outcome.injections) or (f"not here: {outcome.skipped}" if outcome.skipped else "none")
        rows.append(f"| {outcome.id} | {outcome.title} | {done} | {outcome.runs} | {len(outcome.violations)} |")
    return "\n".join(rows) + "\n"


def _counted(injections: Counter[str]) -> str:
    return ", ".join(f"{count}x {what}" for what, count in injections.items())
