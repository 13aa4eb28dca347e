"""The published JSON Schema and the reference page say what the parser does."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from taskforge.language.document_steps import StepDocument
from taskforge.language.parse import parse_workflow
from taskforge.language.problems import CODES
from taskforge.language.schema import workflow_json_schema
from taskforge.language.yaml_tree import read_yaml
from tests.support.places import ROOT
from tests.support.reference import pages

EXAMPLE = """\
name: release-watch
description: Tell ops when a release is out
labels: {team: infra}
inputs:
  repo: {type: string, default: me/app}
  n: {type: integer, required: false}
triggers:
  - {id: nightly, cron: "30 2 * * *", timezone: Europe/Paris, overlap: skip, inputs: {repo: me/app}}
  - {id: often, every: 10s}
  - id: push
    webhook:
      verify: {scheme: github, secret: GH_HOOK}
      dedupe: {key: "${{ trigger.headers['x-github-delivery'] }}", ttl: 24h}
      if: ${{ trigger.body.ref == 'refs/heads/main' }}
    inputs: {repo: "${{ trigger.body.repository.full_name }}"}
timeout: 1h
steps:
  - id: fetch
    http:
      url: https://api.example.com/repos/${{ inputs.repo }}/releases/latest
      headers: {authorization: "Bearer ${{ secrets.GH_TOKEN }}"}
      expect: {status: [200, 3xx]}
      max_body: 64KiB
    timeout: 10s
    retry: {max_attempts: 5, backoff: exponential, initial: 1s, factor: 2, on: [connect, 429, 5xx], max_elapsed: 10m}
  - id: summary
    transform: {input: "${{ steps.fetch.output.body }}", jq: "{tag: .tag_name}"}
  - id: route
    on_error: continue
    switch:
      - if: ${{ size(steps.summary.output.tag) > 0 }}
        steps:
          - id: announce
            http: {method: POST, url: "https://chat.example.com", json: {text: "${{ steps.summary.output.tag }}"}}
      - else:
        steps:
          - {id: nothing, log: nothing to ship}
          - {id: stop, if: false, fail: {message: never}}
output: ${{ steps.summary.output }}
"""


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_the_generated_pages_are_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == pages()[page], "run: python -m tests.support.reference"


def validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(workflow_json_schema())


def test_the_schema_accepts_what_the_parser_accepts() -> None:
    parsed = parse_workflow(EXAMPLE)
    assert parsed.problems == ()
    assert [error.message for error in validator().iter_errors(read_yaml(EXAMPLE, []).value)] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("timeout: 1h", "timeout: 30"),
        ("timeout: 1h", "timeout: 1 hour"),
        ("name: release-watch", "name: Release Watch"),
        ("name: release-watch\n", ""),
        ("description:", "descripton:"),
        ("scheme: github", "scheme: githup"),
        ("max_attempts: 5", "max_attempts: 0"),
        ("[connect, 429, 5xx]", "[conect]"),
        ("[200, 3xx]", "[99]"),
        ("if: ${{ size(steps.summary.output.tag) > 0 }}", "if: size(1) > 0"),
        ("log: nothing to ship", "shell: ls"),
        ("type: string", "type: strin"),
        ("every: 10s", "every: 10s, cron: '@daily'"),
        ("id: fetch", "id: Fetch"),
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(before: str, after: str) -> None:
    source = EXAMPLE.replace(before, after, 1)
    assert source != EXAMPLE
    assert parse_workflow(source).workflow is None
    assert not validator().is_valid(read_yaml(source, []).value)


def test_every_key_of_a_step_is_explained() -> None:
    properties = workflow_json_schema()["$defs"]["StepDocument"]["properties"]
    fields = {field.alias or name for name, field in StepDocument.model_fields.items()}
    assert set(properties) == fields
    assert all("description" in value or "$ref" in value for value in properties.values())


def test_every_code_that_the_language_reports_is_listed() -> None:
    sources = (ROOT / "services" / "taskforge" / "language").glob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    used = {f"TF{part[:4]}" for part in text.split('"TF')[1:]}
    assert used == set(CODES)


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(workflow_json_schema())) == workflow_json_schema()
