"""What the project wants of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and what it should be."""

    name: str
    path: tuple[str, ...]  #: of the figure in the report
    must: float
    aim: float
    unit: str = ""

    @property
    def sign(self) -> str:
        """Whether more is better, or less."""
        return "≥" if self.aim > self.must else "≤"

    def verdict(self, value: float) -> str:
        """Which of the two is met."""
        sign = 1 if self.aim > self.must else -1
        met = [name for name, wanted in (("aim", self.aim), ("must", self.must)) if sign * value >= sign * wanted]
        return met[0] if met else "no"


_IDLE = ("latency", "idle")

GOALS = (
    Goal(name="hop, runs/s", path=("hop", "runs_per_s"), must=1000, aim=2000),
    Goal(name="chain, runs/s", path=("chain", "runs_per_s"), must=700, aim=1400),
    Goal(name="ten, runs/s", path=("ten", "runs_per_s"), must=800, aim=2000),
    Goal(name="CPU-ms a chain run, all processes", path=("chain", "cpu_ms_per_run"), must=2, aim=1),
    Goal(name="write transactions a chain run", path=("chain", "write_transactions_per_run"), must=1, aim=0.2),
    Goal(name="API triggers acknowledged/s", path=("acks", "api", "acks_per_s"), must=2000, aim=5000),
    Goal(name="webhooks acknowledged/s", path=("acks", "webhook", "acks_per_s"), must=2000, aim=5000),
    Goal(
        name="idle: trigger to first request, p50",
        path=(*_IDLE, "hop", "first_request_ms", "p50"),
        must=6,
        aim=3,
        unit=" ms",
    ),
    Goal(
        name="idle: trigger to first request, p99",
        path=(*_IDLE, "hop", "first_request_ms", "p99"),
        must=18,
        aim=8,
        unit=" ms",
    ),
    Goal(
        name="idle: chain, trigger to done, p50", path=(*_IDLE, "chain", "done_ms", "p50"), must=18, aim=8, unit=" ms"
    ),
    Goal(name="at rest: memory of all processes", path=("idle", "memory_mb"), must=350, aim=200, unit=" MB"),
    Goal(name="at rest: processor", path=("idle", "cpu_percent"), must=2, aim=0.5, unit=" % of a core"),
    Goal(name="start of an initialised stack", path=("coldstart", "up_s"), must=4, aim=2, unit=" s"),
    Goal(
        name="first request beside {runs:,} finished runs, p99, against none",
        path=("history", "first_request_ms", "times_slower", "p99"),
        must=2,
        aim=1.2,
        unit=" times",
    ),
    Goal(
        name="{schedules:,} schedules due at once, until all have fired",
        path=("cron", "all_fired_s"),
        must=60,
        aim=20,
        unit=" s",
    ),
)
