"""Triggers compile to schedules and webhooks, and what can never work is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from taskforge.domain.schedule import next_fire
from taskforge.domain.workflow import CronTrigger, Overlap, WebhookTrigger
from taskforge.language.plan import plan_webhook
from taskforge.security.webhook_schemes import scheme_named
from tests.support.language import parse_steps, problems_of, the_problem

STEP = "- {id: a, log: x}"


def schedule(text: str) -> CronTrigger:
    return parse_steps(STEP, above=f"triggers:\n  - {{id: t, {text}}}").schedules[0]


def webhook(text: str) -> WebhookTrigger:
    return parse_steps(STEP, above=f"triggers:\n  - {{id: t, webhook: {{{text}}}}}").webhooks[0]


def refusal(text: str, inputs: str = "") -> tuple[str, str]:
    problem = the_problem(STEP, above=f"{inputs}\ntriggers:\n  - {{id: t, {text}}}")
    return problem.code, problem.message


def test_a_schedule_has_its_pattern_its_zone_and_its_overlap() -> None:
    found = schedule("cron: '30 2 * * *', timezone: Europe/Paris, overlap: allow_all")
    assert (found.cron, found.timezone, found.overlap) == ("30 2 * * *", "Europe/Paris", Overlap.ALLOW_ALL)


def test_a_schedule_is_in_utc_and_skips_by_default() -> None:
    found = schedule("cron: '@daily'")
    assert (found.timezone, found.overlap, found.inputs) == ("UTC", Overlap.SKIP, {})


def test_an_interval_is_in_seconds() -> None:
    assert schedule("every: 5m").every == 300.0


def test_a_compiled_schedule_can_be_followed() -> None:
    fire = next_fire(schedule("cron: '@daily'"), datetime(2026, 1, 1, 5, tzinfo=UTC))
    assert fire == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "scheme", "secret", "options"),
    [
        ("verify: {scheme: none}", "none", None, {}),
        ("verify: {scheme: github, secret: HOOK}", "github", "HOOK", {}),
        ("verify: {scheme: standard, secret: HOOK, tolerance: 1m}", "standard", "HOOK", {"tolerance": 60.0}),
        ("verify: {scheme: token, secret: HOOK, header: x-token}", "token", "HOOK", {"header": "x-token"}),
        (
            "verify: {scheme: hmac, secret: HOOK, header: x-sig, algorithm: sha512, encoding: base64, prefix: 'v1=',"
            " timestamp_header: x-time, tolerance: 10m, delivery_header: x-id}",
            "hmac",
            "HOOK",
            {
                "header": "x-sig",
                "algorithm": "sha512",
                "encoding": "base64",
                "prefix": "v1=",
                "timestamp_header": "x-time",
                "tolerance": 600.0,
                "delivery_header": "x-id",
            },
        ),
    ],
)
def test_a_webhook_says_how_it_is_verified(text: str, scheme: str, secret: str | None, options: dict[str, Any]) -> None:
    found = webhook(text)
    assert (found.scheme, found.secret, dict(found.options)) == (scheme, secret, options)
    assert scheme_named(found.scheme, found.options)


def test_a_webhook_has_its_condition_its_key_and_its_inputs() -> None:
    found = parse_steps(
        STEP,
        above="""
        inputs: {repo: {type: string}}
        triggers:
          - id: push
            webhook:
              verify: {scheme: none}
              dedupe: {key: "${{ trigger.headers['x-id'] }}", ttl: 1h}
              if: ${{ trigger.body.ref == 'main' }}
            inputs: {repo: "r-${{ trigger.body.repo }}"}
    """,
    ).webhooks[0]
    assert (found.condition, found.dedupe_ttl) == ("trigger.body.ref == 'main'", 3600.0)
    plan = plan_webhook(found)
    context = {
        "trigger": {"type": "webhook", "id": "push", "headers": {"x-id": "7"}, "body": {"ref": "main", "repo": "a"}}
    }
    assert plan.condition is not None
    assert plan.condition.holds(context)
    assert plan.dedupe_key is not None
    assert plan.dedupe_key.evaluate(context) == "7"
    assert plan.inputs.evaluate(context) == {"repo": "r-a"}


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("cron: '61 * * * *'", "TF1301", "'61' is not a minute"),
        ("cron: '0 0 30 2 *'", "TF1301", "'0 0 30 2 *' never fires: no such day exists"),
        ("cron: '@daily', timezone: Paris", "TF1302", "unknown time zone 'Paris'"),
        ("every: 500ms", "TF1301", "every must be at least 1s"),
        ("every: 10s, timezone: UTC", "TF1105", "timezone belongs to cron"),
        (
            "every: 10s, cron: '@daily'",
            "TF1105",
            "a trigger has exactly one of: cron, every, webhook; this one has cron and every",
        ),
        ("inputs: {}", "TF1105", "a trigger has exactly one of: cron, every, webhook; this one has none"),
        ("every: 10s, overlap: buffer_one", "TF1101", "'buffer_one' is not possible here"),
        ("every: 10s, jitter: 2m", "TF1104", "'jitter' is not available yet"),
        ("every: 10s, manual: false", "TF1104", "'manual' is not available yet"),
        ("webhook: {}", "TF1103", "the key 'verify' is missing"),
        ("webhook: {verify: {scheme: none}, respond: {mode: wait}}", "TF1104", "'respond' is not available yet"),
        ("webhook: {verify: {scheme: none}}, overlap: skip", "TF1105", "overlap belongs to schedules"),
        ("webhook: {verify: {scheme: github}}", "TF1103", "the scheme github needs a secret"),
        (
            "webhook: {verify: {scheme: hmac, secret: A}}",
            "TF1103",
            "the scheme hmac needs the header that holds the signature",
        ),
        ("webhook: {verify: {scheme: none, secret: A}}", "TF1105", "the scheme none uses no secret"),
        (
            "webhook: {verify: {scheme: github, secret: A, header: x}}",
            "TF1105",
            "the scheme github has no option header",
        ),
        ("webhook: {verify: {scheme: githup, secret: A}}", "TF1101", "'githup' is not possible here"),
        (
            "webhook: {verify: {scheme: github, secret: '${{ secrets.A }}'}}",
            "TF1101",
            "a secret is named here, not read",
        ),
        ("webhook: {verify: {scheme: github, secret: a b}}", "TF1101", "this is not the name of a secret"),
    ],
)
def test_a_wrong_trigger_is_explained(text: str, code: str, message: str) -> None:
    assert refusal(text) == (code, message)


@pytest.mark.parametrize(
    ("condition", "code", "message"),
    [
        ("${{ trigger.body.items.exists(i, i == 1) }}", "TF1205", "this is too costly here"),
        ("${{ inputs.x == 1 }}", "TF1202", "'inputs' is not available here"),
        ("${{ steps.a.output == 1 }}", "TF1202", "'steps' is not available here"),
        ("${{ secrets.A == 'x' }}", "TF1204", "a secret is not possible here"),
        ("${{ trigger.bdy == 1 }}", "TF1202", "no field of trigger 'bdy'"),
        (
            "${{ trigger.nominal_at == '' }}",
            "TF1202",
            "no schedule starts this workflow, so trigger has no 'nominal_at'",
        ),
    ],
)
def test_a_webhook_is_judged_by_its_delivery_alone_and_cheaply(condition: str, code: str, message: str) -> None:
    assert refusal(f'webhook: {{verify: {{scheme: none}}, if: "{condition}"}}') == (code, message)


def test_ids_of_triggers_are_used_once() -> None:
    problem = the_problem(STEP, above="triggers:\n  - {id: t, every: 1m}\n  - {id: t, every: 2m}")
    assert (problem.code, problem.message) == ("TF1106", "the id 't' is used twice; it is on line 3 already")


INPUTS = "inputs: {repo: {type: string}, n: {type: integer, default: 1}}"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("every: 1m", "TF1303", "the trigger gives no value for: repo"),
        ("every: 1m, inputs: {repo: a, m: 2}", "TF1303", "no input 'm'"),
        ("every: 1m, inputs: {repo: 5}", "TF1303", "the input 'repo' must be text, not a number (5)"),
        ("every: 1m, inputs: {repo: '${{ trigger.nominal_at }}'}", "TF1202", "the inputs of a schedule are fixed"),
        ("webhook: {verify: {scheme: none}}", "TF1303", "the trigger gives no value for: repo"),
        (
            "webhook: {verify: {scheme: none}}, inputs: {repo: a, n: x}",
            "TF1303",
            "the input 'n' must be a whole number, not text (\"x\")",
        ),
    ],
)
def test_what_a_trigger_gives_fits_what_is_declared(text: str, code: str, message: str) -> None:
    assert refusal(text, INPUTS) == (code, message)


def test_a_trigger_that_is_wrong_in_one_way_is_still_checked_in_every_other() -> None:
    found = problems_of(
        STEP,
        above="""
        triggers:
          - {id: t, cron: "61 * * * *", timezone: Paris, catchup: all}
    """,
    )
    assert [problem.code for problem in found] == ["TF1301", "TF1302", "TF1104"]
