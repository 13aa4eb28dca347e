"""The stored form of triggers: what `triggers.definition` and `schedules.definition` hold.

A schedule:
    {"id": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Paris", "overlap": "skip", "inputs": {"repo": "me/app"}}
    with `"every": 10.0` (seconds) instead of `cron` for an interval.

A webhook:
    {"id": "push", "scheme": "github", "secret": "GH_HOOK", "options": {}, "condition": "trigger.body.ref == 'x'",
     "dedupe_key": "${{ trigger.headers['x-id'] }}", "dedupe_ttl": 86400.0,
     "inputs": {"ref": "${{ trigger.body.ref }}"}}

Fields whose value is null are left out. Readers take missing fields as their defaults and pass over fields that they do
not know, so that versions N and N-1 read each other's rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from taskforge.domain.workflow import CronTrigger, JsonValue, Overlap, WebhookTrigger

SCHEDULE = "schedule"
WEBHOOK = "webhook"


def kind_of(trigger: CronTrigger | WebhookTrigger) -> str:
    """What `triggers.kind` holds."""
    return SCHEDULE if isinstance(trigger, CronTrigger) else WEBHOOK


def to_json(trigger: CronTrigger | WebhookTrigger) -> str:
    """The stored text of a trigger."""
    document = _cron(trigger) if isinstance(trigger, CronTrigger) else _webhook(trigger)
    return json.dumps({key: value for key, value in document.items() if value is not None}, ensure_ascii=False)


def cron_from_json(document: Mapping[str, JsonValue]) -> CronTrigger:
    """A schedule from its decoded stored form."""
    return CronTrigger(
        id=document["id"],
        cron=document.get("cron"),
        every=document.get("every"),
        timezone=document.get("timezone", "UTC"),
        overlap=Overlap(document.get("overlap", Overlap.SKIP)),
        inputs=document.get("inputs", {}),
    )


def webhook_from_json(document: Mapping[str, JsonValue]) -> WebhookTrigger:
    """A webhook from its decoded stored form."""
    return WebhookTrigger(
        id=document["id"],
        scheme=document["scheme"],
        secret=document.get("secret"),
        options=document.get("options", {}),
        condition=document.get("condition"),
        dedupe_key=document.get("dedupe_key"),
        dedupe_ttl=document.get("dedupe_ttl", 86400.0),
        inputs=document.get("inputs", {}),
    )


def _cron(trigger: CronTrigger) -> dict[str, Any]:
    return {
        "id": trigger.id,
        "cron": trigger.cron,
        "every": trigger.every,
        "timezone": trigger.timezone,
        "overlap": trigger.overlap.value,
        "inputs": dict(trigger.inputs),
    }


def _webhook(trigger: WebhookTrigger) -> dict[str, Any]:
    return {
        "id": trigger.id,
        "scheme": trigger.scheme,
        "secret": trigger.secret,
        "options": dict(trigger.options),
        "condition": trigger.condition,
        "dedupe_key": trigger.dedupe_key,
        "dedupe_ttl": trigger.dedupe_ttl,
        "inputs": dict(trigger.inputs),
    }
