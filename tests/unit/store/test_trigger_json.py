"""The stored form of triggers, which three services read."""

from __future__ import annotations

import json

import pytest

from taskforge.domain.workflow import CronTrigger, Overlap, WebhookTrigger
from taskforge.store.trigger_json import cron_from_json, kind_of, to_json, webhook_from_json

CRONS = [
    CronTrigger(id="a", cron="30 2 * * *", timezone="Europe/Paris", inputs={"repo": "me/app", "n": [1, None]}),
    CronTrigger(id="b", every=1.5, overlap=Overlap.ALLOW_ALL),
]
HOOKS = [
    WebhookTrigger(id="a", scheme="none"),
    WebhookTrigger(
        id="b",
        scheme="hmac",
        secret="KEY",
        options={"header": "x-signature"},
        condition="trigger.body.ok",
        dedupe_key="${{ trigger.body.id }}",
        dedupe_ttl=60.0,
        inputs={"ref": "${{ trigger.body.ref }}"},
    ),
]


@pytest.mark.parametrize("trigger", CRONS)
def test_a_schedule_comes_back_as_it_was(trigger: CronTrigger) -> None:
    assert cron_from_json(json.loads(to_json(trigger))) == trigger
    assert kind_of(trigger) == "schedule"


@pytest.mark.parametrize("trigger", HOOKS)
def test_a_webhook_comes_back_as_it_was(trigger: WebhookTrigger) -> None:
    assert webhook_from_json(json.loads(to_json(trigger))) == trigger
    assert kind_of(trigger) == "webhook"


def test_fields_of_a_newer_version_are_passed_over_and_missing_ones_have_their_defaults() -> None:
    assert cron_from_json({"id": "a", "cron": "@daily", "moon": "full"}) == CronTrigger(id="a", cron="@daily")
    assert webhook_from_json({"id": "a", "scheme": "none", "moon": 1}) == WebhookTrigger(id="a", scheme="none")
