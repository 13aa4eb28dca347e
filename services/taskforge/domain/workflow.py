"""Compiled definitions: what the language produces and the engine follows. Frozen, plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

JsonValue = Any  # None | bool | int | float | str | list | dict, checked by json_values


class ActionKind(StrEnum):
    """What a step does."""

    HTTP = "http"
    TRANSFORM = "transform"
    SWITCH = "switch"
    LOG = "log"
    FAIL = "fail"
    OUTPUT = "output"  # the hidden last step that evaluates the workflow's `output`


class Effect(StrEnum):
    """What repeating a step would do to the outside world."""

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class OnUnknown(StrEnum):
    """What to do when nobody can say whether an attempt's effect happened."""

    RETRY = "retry"
    FAIL = "fail"


class Backoff(StrEnum):
    """How the delay between attempts grows."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Jitter(StrEnum):
    """How a delay is spread."""

    NONE = "none"
    FULL = "full"  # uniform between zero and the delay


class Overlap(StrEnum):
    """What a schedule does when its last run is still active."""

    SKIP = "skip"
    ALLOW_ALL = "allow_all"


PURE_KINDS = frozenset({ActionKind.TRANSFORM, ActionKind.SWITCH, ActionKind.LOG, ActionKind.FAIL, ActionKind.OUTPUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is tried again. Durations are in seconds."""

    max_attempts: int
    on: frozenset[str]  #: error classes: connect, timeout, 429, 5xx, or an exact status such as 503
    backoff: Backoff = Backoff.EXPONENTIAL
    initial: float = 1.0
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: Jitter = Jitter.FULL
    max_elapsed: float | None = None  #: from the first attempt's start to the next one's


NO_RETRY = RetryPolicy(max_attempts=1, on=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a compiled workflow. Steps are numbered in topological order of the file."""

    index: int
    id: str
    kind: ActionKind
    params: Mapping[str, JsonValue]  #: the action's fields; strings may hold ${{ }}
    name: str = ""
    condition: str | None = None  #: the `if` expression, without ${{ }}
    needs: tuple[int, ...] = ()  #: with switches expanded to the steps inside them; holds `parent`
    reads: tuple[int, ...] = ()  #: steps whose output or state its expressions use
    secrets: tuple[str, ...] = ()  #: names of the secrets its expressions use
    parent: int | None = None  #: the switch it is nested in
    branch: int | None = None  #: which branch of `parent`
    timeout: float = 60.0  #: seconds per attempt
    retry: RetryPolicy = NO_RETRY
    continue_on_error: bool = False
    effect: Effect = Effect.PURE
    on_unknown: OnUnknown = OnUnknown.RETRY
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_pure(self) -> bool:
        """Whether an executor may evaluate it ahead of its own commit."""
        return self.kind in PURE_KINDS

    @property
    def makes_dead_letter(self) -> bool:
        """A `fail` step does what it was written for; everything else that gives up is kept."""
        return self.kind is not ActionKind.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class CronTrigger:
    """A schedule: either `cron` or `every` (seconds) is set."""

    id: str
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    overlap: Overlap = Overlap.SKIP
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTrigger:
    """A webhook endpoint. `verify` holds the scheme and its options; `secret` names a stored secret."""

    id: str
    scheme: str
    secret: str | None = None
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    condition: str | None = None
    dedupe_key: str | None = None  #: a template; None: the scheme's own delivery id
    dedupe_ttl: float = 86400.0
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)  #: templates over `trigger`


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A compiled definition. `source_hash` is the SHA-256 of its text, in hex."""

    name: str
    source_hash: str
    steps: tuple[Step, ...]
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)  #: JSON Schema of each input
    required_inputs: tuple[str, ...] = ()
    schedules: tuple[CronTrigger, ...] = ()
    webhooks: tuple[WebhookTrigger, ...] = ()
    timeout: float | None = None  #: seconds for the whole run
    has_output: bool = False  #: the last step is then the hidden `output` step

    @cached_property
    def dependents(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the steps that need it."""
        found: list[list[int]] = [[] for _ in self.steps]
        for step in self.steps:
            for need in step.needs:
                found[need].append(step.index)
        return tuple(tuple(indexes) for indexes in found)

    @cached_property
    def by_id(self) -> Mapping[str, Step]:
        """Steps by their id."""
        return {step.id: step for step in self.steps}

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Names of all secrets used anywhere, sorted."""
        names = {name for step in self.steps for name in step.secrets}
        names.update(hook.secret for hook in self.webhooks if hook.secret)
        return tuple(sorted(names))
