"""What a verified delivery means for its workflow. Pure: the same content gives the same judgement again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from taskforge.domain.json_values import encode_checked
from taskforge.domain.workflow import JsonValue, Workflow
from taskforge.language.cel import ExpressionError
from taskforge.language.inputs import check_inputs
from taskforge.language.plan import WebhookPlan
from taskforge.security.webhook_schemes import Scheme
from taskforge.store.deliveries import Content

_MAX_KEY_CHARS = 200
_MAX_FIELDS = 10_000
_SHOWN_VIOLATIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook of a revision, compiled."""

    revision_id: UUID
    workflow: Workflow
    plan: WebhookPlan
    scheme: Scheme

    @property
    def ttl(self) -> timedelta:
        """How long a delivery's key is remembered."""
        return timedelta(seconds=self.plan.trigger.dedupe_ttl)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """It starts a run. `key` is None when the trigger has no `dedupe` of its own."""

    inputs: str
    trigger: str
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """The trigger's `if` is false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprocessable:
    """It cannot be turned into inputs; the message says why."""

    message: str


Judgement = Accepted | Filtered | Unprocessable


class _UnreadableError(Exception):
    """The delivery cannot be read; the text says why."""


def judge(hook: Hook, content: Content, received_at: datetime) -> Judgement:
    """Evaluate the trigger's `if`, its dedupe key and its inputs. Never raises on what was sent."""
    try:
        trigger = _trigger(hook.plan.trigger.id, content, received_at)
        encoded = _encoded(trigger, "what a run would see of the request")
        context = {"trigger": trigger}
        if hook.plan.condition is not None and not hook.plan.condition.holds(context):
            return Filtered()
        key = _key(hook.plan, context)
        return Accepted(inputs=_inputs(hook, context), trigger=encoded, key=key)
    except (_UnreadableError, ExpressionError) as error:
        return Unprocessable(message=str(error))


def bounded_key(key: str) -> str:
    """A key that an index can hold: a long one is replaced by its hash, never cut."""
    if len(key) <= _MAX_KEY_CHARS:
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _trigger(trigger_id: str, content: Content, received_at: datetime) -> dict[str, JsonValue]:
    return {
        "type": "webhook",
        "id": trigger_id,
        "method": "POST",
        "headers": dict(content.headers),
        "query": _fields(content.query),
        "body": _body(content),
        "received_at": received_at.isoformat().replace("+00:00", "Z"),
    }


def _body(content: Content) -> JsonValue:
    """JSON and forms by their content type, anything else as text."""
    media_type = content.content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return _json(content.body)
    text = content.body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return _fields(text) if media_type == "application/x-www-form-urlencoded" else text


def _json(body: bytes) -> JsonValue:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"the body says that it is JSON, and is not: {str(error)[:200]}") from None


def _fields(text: str) -> dict[str, JsonValue]:
    """A query string or form: one value is a string, several are a list."""
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise _UnreadableError(f"it has more than {_MAX_FIELDS} fields") from None
    for name, value in pairs:
        earlier = found.get(name)
        if earlier is None:
            found[name] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            found[name] = [earlier, value]
    return found


def _key(plan: WebhookPlan, context: dict[str, JsonValue]) -> str | None:
    if plan.dedupe_key is None:
        return None
    value = plan.dedupe_key.evaluate(context)
    text = value if isinstance(value, str) else json.dumps(value)
    if value is None or not text:
        # Letting it pass would let everything pass.
        raise _UnreadableError("the dedupe key is empty")
    return bounded_key(text)


def _inputs(hook: Hook, context: dict[str, JsonValue]) -> str:
    checked = check_inputs(hook.workflow, hook.plan.inputs.evaluate(context))
    if checked.violations:
        shown = [violation.message for violation in checked.violations[:_SHOWN_VIOLATIONS]]
        raise _UnreadableError("; ".join(shown))
    return _encoded(dict(checked.values), "the inputs")


def _encoded(value: JsonValue, what: str) -> str:
    encoded = encode_checked(value)
    if isinstance(encoded, bytes):
        return encoded.decode()
    raise _UnreadableError(f"{what} cannot be stored: {encoded[0]}")
