"""The top of a workflow document: triggers and everything beside the steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from taskforge.language.document_fields import (
    INPUT_NAME,
    Condition,
    Document,
    Duration,
    HeaderName,
    Json,
    SecretName,
    StepId,
    WorkflowName,
    fault,
    part,
)

_VERIFY_OPTIONS = {
    "standard": frozenset({"tolerance"}),
    "github": frozenset[str](),
    "hmac": frozenset(
        {"header", "algorithm", "encoding", "prefix", "timestamp_header", "tolerance", "delivery_header"}
    ),
    "token": frozenset({"header", "prefix", "delivery_header"}),
    "none": frozenset[str](),
}


class Verify(Document):
    """How deliveries prove that they come from the sender. `none` must be said."""

    scheme: Literal["standard", "github", "hmac", "token", "none"]
    """`standard` is standardwebhooks.com; `token` is a shared secret in a header; `none` takes anything."""
    secret: SecretName | None = None
    """The name of a stored secret."""
    header: HeaderName | None = None
    """hmac: the header with the signature; token: the header with the token (default authorization)."""
    algorithm: Literal["sha256", "sha512"] | None = None
    """hmac: default sha256."""
    encoding: Literal["hex", "base64"] | None = None
    """hmac: how the signature is written. Default hex."""
    prefix: str | None = Field(default=None, max_length=128)
    """What stands before the signature or token in the header."""
    timestamp_header: HeaderName | None = None
    """hmac: the header with a Unix time; the signed text is then `TIME.BODY`."""
    tolerance: Duration | None = None
    """How far a timestamp may be off. Default 5m."""
    delivery_header: HeaderName | None = None
    """The header with the sender's id of a delivery, used to drop duplicates."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        allowed = _VERIFY_OPTIONS[self.scheme]
        wrong = sorted(self.model_fields_set - {"scheme", "secret"} - allowed)
        if wrong:
            raise fault(f"the scheme {self.scheme} has no option {wrong[0]}", code="TF1105")
        if self.scheme == "none" and self.secret is not None:
            raise fault("the scheme none uses no secret", code="TF1105")
        if self.scheme != "none" and self.secret is None:
            raise fault(f"the scheme {self.scheme} needs a secret", "write secret: NAME", "TF1103")
        if self.scheme == "hmac" and self.header is None:
            raise fault("the scheme hmac needs the header that holds the signature", code="TF1103")
        return self

    def options(self) -> dict[str, Any]:
        """What is set beside the scheme and the secret."""
        return self.model_dump(exclude={"scheme", "secret"}, exclude_none=True)


class Dedupe(Document):
    """Deliveries with one key start one run."""

    key: str | None = None
    """A template over `trigger`. Default: the delivery id of the scheme."""
    ttl: Duration = 86_400.0
    """How long a key is remembered."""


class Webhook(Document):
    """An endpoint that starts runs."""

    verify: Verify
    """How a delivery proves where it comes from."""
    dedupe: Dedupe = Field(default_factory=Dedupe)
    """How a delivery that comes twice is recognised."""
    condition: Condition | None = Field(default=None, alias="if")
    """Over `trigger`; false: the delivery is accepted and starts nothing."""


class TriggerDocument(Document):
    """What starts runs: exactly one of `cron`, `every` and `webhook`."""

    model_config = ConfigDict(title="Trigger")

    id: StepId
    """Its name, and the last part of a webhook's address."""
    cron: str | None = None
    """Five fields, or @hourly, @daily, @weekly, @monthly, @yearly."""
    every: Duration | None = None
    """An interval, counted from 1970-01-01T00:00Z; at least 1s."""
    timezone: str | None = None
    """An IANA name such as Europe/Paris. Default UTC."""
    overlap: Literal["skip", "allow_all"] | None = None
    """What happens when the schedule's last run is still active. Default skip."""
    webhook: Webhook | None = None
    """An address that others call."""
    inputs: dict[str, Json] = Field(default_factory=dict)
    """The run's inputs. For webhooks: strings may hold ${{ trigger… }}."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in ("cron", "every", "webhook") if getattr(self, kind) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "none"
            raise fault(f"a trigger has exactly one of: cron, every, webhook; this one has {what}", code="TF1105")
        if self.timezone is not None and self.cron is None:
            raise fault("timezone belongs to cron", code="TF1105")
        if self.overlap is not None and self.webhook is not None:
            raise fault("overlap belongs to schedules", code="TF1105")
        if self.every is not None and self.every < 1:
            raise fault("every must be at least 1s", code="TF1301")
        return self


class WorkflowDocument(Document):
    """A TaskForge workflow."""

    model_config = ConfigDict(title="TaskForge workflow")

    name: WorkflowName
    """What it is known by: applying a file of the same name makes a new revision."""
    description: str = Field(default="", max_length=2000)
    """For people."""
    labels: dict[str, str] = Field(default_factory=dict, max_length=32)
    """For people and filters."""
    inputs: Annotated[
        dict[str, Any],
        WithJsonSchema(
            {
                "type": "object",
                "propertyNames": {"pattern": INPUT_NAME},
                "additionalProperties": part("Input"),
            }
        ),
    ] = Field(default_factory=dict)
    """JSON Schema of each input. One without a default is required, unless `required: false`."""
    triggers: Annotated[list[Any], WithJsonSchema({"type": "array", "items": part("TriggerDocument")})] = Field(
        default_factory=list
    )
    """A manual start is always possible."""
    timeout: Duration | None = None
    """Of the whole run. Default: none."""
    steps: Annotated[list[Any], WithJsonSchema({"type": "array", "minItems": 1, "items": part("StepDocument")})] = (
        Field(min_length=1)
    )
    """Run in the order of the file, unless `needs` says otherwise."""
    output: Json = None
    """The run's output, evaluated when all steps have ended."""
