"""The steps of a workflow document. Field docstrings become the descriptions of the published JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from taskforge.language.document_fields import (
    Condition,
    Document,
    Duration,
    HeaderName,
    Json,
    Retryable,
    Scalar,
    Scalars,
    Size,
    Statuses,
    StepId,
    fault,
    part,
)

ACTIONS = ("http", "transform", "switch", "log", "fail")
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class BasicAuth(Document):
    """HTTP Basic authentication."""

    username: str
    password: str


class Auth(Document):
    """How a request authenticates: one of the keys."""

    basic: BasicAuth | None = None
    bearer: str | None = None
    """The token, without the word Bearer."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.basic is None) == (self.bearer is None):
            raise fault("auth needs exactly one of: basic, bearer", code="TF1105")
        return self


class Expect(Document):
    """What makes an answer a success."""

    status: Statuses = Field(default=["2xx"])
    """Statuses or classes of statuses."""


class HttpAction(Document):
    """One HTTP request. Output: `{status, headers, body, elapsed_ms}`; the body is parsed when its type says JSON."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """Must be written when the request has a body."""
    url: str
    """Absolute, with http:// or https://."""
    query: dict[str, Scalars] = Field(default_factory=dict)
    """Added to the URL, encoded; a list repeats its name."""
    headers: dict[HeaderName, Scalar] = Field(default_factory=dict)
    """Names in any case."""
    json_body: Json = Field(default=None, alias="json")
    """The body as JSON, with its content type."""
    form: dict[str, Scalars] | None = None
    """The body as an HTML form."""
    body: str | None = None
    """The body as text."""
    auth: Auth | None = None
    """Instead of an `authorization` header."""
    expect: Expect = Field(default_factory=Expect)
    """What makes an answer a success; anything else fails the attempt."""
    follow_redirects: bool = False
    """False: a redirect is an answer like any other, and not a 2xx."""
    max_body: Size = 1024 * 1024
    """How much of an answer's body is read before the attempt fails; at most 1MiB."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        bodies = [name for name, field in _BODIES.items() if field in self.model_fields_set]
        if len(bodies) > 1:
            raise fault(f"a request has one body, not {' and '.join(bodies)}", code="TF1105")
        if bodies and self.method in _METHODS_WITHOUT_BODY and "method" not in self.model_fields_set:
            raise fault(f"a request with {bodies[0]} needs its method", "write method: POST, PUT, PATCH …", "TF1105")
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise fault("auth and the header authorization exclude each other", code="TF1105")
        if not self.url.lstrip().startswith(("http://", "https://", "${{")):
            raise fault("the url must start with http:// or https://")
        return self


_BODIES = {"json": "json_body", "form": "form", "body": "body"}


class TransformAction(Document):
    """Pure reshaping: either `value`, or a `jq` program with its `input`. Output: the value."""

    value: Json = None
    """Any JSON; strings may hold ${{ }}."""
    jq: str | None = None
    """A jq program that gives exactly one value; it sees only its input."""
    input: Json = None
    """The input of the jq program."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = self.model_fields_set
        if ("value" in given) == ("jq" in given):
            raise fault("transform needs exactly one of: value, jq", code="TF1105")
        if "input" in given and "jq" not in given:
            raise fault("input belongs to jq; value reads what it needs by ${{ }}", code="TF1105")
        if "jq" in given and self.jq is None:
            raise fault("jq needs a program")
        return self


class LogAction(Document):
    """Writes one line to the run's log."""

    message: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    data: Json = None
    """Structured data beside the message."""


class FailAction(Document):
    """Ends the run as FAILED."""

    message: str


def _message_alone(value: Any) -> Any:
    return {"message": value} if isinstance(value, str) else value


class Branch(Document):
    """One branch of a switch: `if` with a condition, or a last `else`."""

    condition: Condition | None = Field(default=None, alias="if")
    else_: None = Field(default=None, alias="else")
    """Takes no value: `- else:` with `steps:` beside it."""
    steps: Annotated[list[Any], WithJsonSchema({"type": "array", "minItems": 1, "items": part("StepDocument")})] = (
        Field(min_length=1)
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if ("condition" in self.model_fields_set) == ("else_" in self.model_fields_set):
            raise fault("a branch needs exactly one of: if, else", code="TF1105")
        if "condition" in self.model_fields_set and self.condition is None:
            raise fault("a condition is missing after `if`")
        return self


class Retry(Document):
    """When a failed attempt is tried again. Only what `on` names is."""

    max_attempts: int = Field(default=3, ge=1, le=100)
    """The first one counts."""
    backoff: Literal["constant", "linear", "exponential"] = "exponential"
    """How the delay between attempts grows."""
    initial: Duration = 1.0
    """The first delay."""
    factor: float = Field(default=2.0, ge=1, le=100)
    """How much an exponential delay grows."""
    max: Duration = 60.0
    """The longest delay."""
    jitter: Literal["none", "full"] = "full"
    """`full`: uniform between zero and the delay."""
    on: list[Retryable] | None = Field(default=None, min_length=1)
    """Classes of errors, or statuses. Default: by the step's effect."""
    max_elapsed: Duration | None = None
    """No attempt starts later than this after the first one's start."""


class StepDocument(Document):
    """One step: an id and exactly one action key."""

    model_config = ConfigDict(title="Step")

    id: StepId
    """Its name in `needs` and `steps.ID`."""
    name: str = Field(default="", max_length=200)
    """For people."""
    condition: Condition | None = Field(default=None, alias="if")
    """False: the step is SKIPPED."""
    needs: list[str] | None = None
    """Ids of steps above that must have ended. Default: the step written above it; `[]` starts at once."""
    timeout: Duration | None = None
    """Of one attempt. Default: 60s for http, 10s for all others."""
    retry: Retry | None = None
    """For http. Default: three attempts, on what is safe to repeat."""
    on_error: Literal["fail", "continue"] | None = None
    """What a failure of the step does to the run. On a switch: the default of the steps inside it."""
    effect: Literal["pure", "idempotent", "at_least_once", "at_most_once"] | None = None
    """What repeating the step would do to the outside world. Default: by action and method."""
    on_unknown: Literal["retry", "fail"] | None = None
    """When nobody can say whether an attempt's effect happened."""
    labels: dict[str, str] = Field(default_factory=dict, max_length=32)
    """For people and filters."""
    http: HttpAction | None = None
    """Sends one request. Output: `{status, headers, body, elapsed_ms}`."""
    transform: TransformAction | None = None
    """Reshapes data. Output: the value."""
    switch: Annotated[list[Any] | None, WithJsonSchema({"type": "array", "minItems": 1, "items": part("Branch")})] = (
        Field(default=None, min_length=1)
    )
    """The first branch whose condition is true runs; the steps of the others are SKIPPED. Output: `{branch}`."""
    log: Annotated[
        LogAction | None,
        BeforeValidator(_message_alone),
        WithJsonSchema({"anyOf": [{"type": "string"}, part("LogAction")]}),
    ] = None
    """Writes to the run's log; a string alone is the message."""
    fail: Annotated[
        FailAction | None,
        BeforeValidator(_message_alone),
        WithJsonSchema({"anyOf": [{"type": "string"}, part("FailAction")]}),
    ] = None
    """Ends the run as FAILED; a string alone is the message."""

    @model_validator(mode="after")
    def _one_action(self) -> Self:
        given = [action for action in ACTIONS if getattr(self, action) is not None]
        if not given:
            raise fault("the step has no action", f"add one of: {', '.join(ACTIONS)}", "TF1105")
        if len(given) > 1:
            raise fault(f"a step does one thing, not {' and '.join(given)}", "make two steps of it", "TF1105")
        return self

    @property
    def action(self) -> str:
        """The action key."""
        return next(action for action in ACTIONS if getattr(self, action) is not None)
