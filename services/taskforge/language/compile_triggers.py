"""Triggers of a document: checks, and the schedules and webhooks that the engine follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taskforge.domain.cron import CronError
from taskforge.domain.schedule import check_cron, check_timezone
from taskforge.domain.workflow import CronTrigger, JsonValue, Overlap, WebhookTrigger
from taskforge.language.declared_inputs import DeclaredInputs, check_given
from taskforge.language.document_workflow import TriggerDocument, Webhook
from taskforge.language.expressions import split_template
from taskforge.language.faults import read_part
from taskforge.language.places import Kind, Place, template_places
from taskforge.language.problems import Problem, format_path, problem_at
from taskforge.language.reference_fields import trigger_fields
from taskforge.language.references import Reads, ReferenceChecker, Scope
from taskforge.language.yaml_tree import Path, Tree

_WEBHOOK_SCOPE = Scope(
    names=frozenset({"trigger"}),
    trigger_fields=trigger_fields(webhook=True, schedule=False),
    must_be_cheap=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerDraft:
    """One trigger as it stands in the file; `document` is None when it is wrong in itself."""

    path: Path
    raw: Mapping[str, JsonValue]
    document: TriggerDocument | None


def read_triggers(tree: Tree, problems: list[Problem]) -> list[TriggerDraft]:
    """Read all triggers, and refuse ids that are used twice."""
    raw = tree.value.get("triggers")
    drafts: list[TriggerDraft] = []
    lines: dict[str, int] = {}
    for index, item in enumerate(raw if isinstance(raw, list) else []):
        path: Path = ("triggers", index)
        document = read_part(TriggerDocument, item, path, tree, problems)
        if isinstance(item, dict):
            drafts.append(TriggerDraft(path=path, raw=item, document=document))
            _check_id(item.get("id"), (*path, "id"), lines, tree, problems)
    return drafts


def _check_id(id_: JsonValue, path: Path, lines: dict[str, int], tree: Tree, problems: list[Problem]) -> None:
    if not isinstance(id_, str):
        return
    place = tree.span(path)
    if id_ in lines:
        message = f"the id '{id_}' is used twice; it is on line {lines[id_]} already"
        problems.append(problem_at(place, code="TF1106", message=message, path=format_path(path)))
    lines.setdefault(id_, place.line)


class TriggerCompiler:
    """Checks and compiles the triggers of one file."""

    def __init__(
        self, tree: Tree, problems: list[Problem], checker: ReferenceChecker, declared: DeclaredInputs
    ) -> None:
        self._tree = tree
        self._problems = problems
        self._checker = checker
        self._declared = declared
        self.schedules: list[CronTrigger] = []
        self.webhooks: list[WebhookTrigger] = []

    def compile(self, draft: TriggerDraft) -> None:
        """Check one trigger, whatever else is wrong with it, and add what it compiles to."""
        inputs = draft.raw.get("inputs", {})
        if isinstance(inputs, dict):
            path = (*draft.path, "inputs") if "inputs" in draft.raw else draft.path
            check_given(inputs, self._declared, path, self._tree, self._problems)
        if "webhook" in draft.raw:
            self._check_places(draft)
        else:
            self._check_schedule(draft)
        document = draft.document
        if document is not None and document.webhook is not None:
            self.webhooks.append(_webhook(document, document.webhook))
        elif document is not None:
            self.schedules.append(_schedule(document))

    def _check_schedule(self, draft: TriggerDraft) -> None:
        cron, timezone = draft.raw.get("cron"), draft.raw.get("timezone")
        if isinstance(cron, str):
            self._report_cron((*draft.path, "cron"), check_cron(cron), "TF1301")
        if isinstance(timezone, str):
            self._report_cron((*draft.path, "timezone"), check_timezone(timezone), "TF1302")
        for place in template_places(draft.raw.get("inputs"), (*draft.path, "inputs")):
            message, hint = "the inputs of a schedule are fixed", "a step can read ${{ trigger.nominal_at }}"
            span = self._tree.span(place.path)
            found = problem_at(span, code="TF1202", message=message, hint=hint, path=format_path(place.path))
            self._problems.append(found)

    def _check_places(self, draft: TriggerDraft) -> None:
        for place in template_places(draft.raw, draft.path):
            kind = _kind(place.path[len(draft.path) :]) if place.kind is Kind.TEMPLATE else place.kind
            self._checker.check(Place(path=place.path, text=place.text, kind=kind), _WEBHOOK_SCOPE, Reads())

    def _report_cron(self, path: Path, error: CronError | None, code: str) -> None:
        if error is not None:
            place = self._tree.span(path)
            self._problems.append(
                problem_at(place, code=code, message=str(error), hint=error.hint, path=format_path(path))
            )


def _kind(path: Path) -> Kind:
    match path:
        case ("webhook", "if"):
            return Kind.CONDITION
        case ("webhook", "dedupe", "key") | ("inputs", *_):
            return Kind.TEMPLATE
        case _:
            return Kind.FIXED


def _schedule(document: TriggerDocument) -> CronTrigger:
    return CronTrigger(
        id=document.id,
        cron=document.cron,
        every=document.every,
        timezone=document.timezone or "UTC",
        overlap=Overlap(document.overlap or "skip"),
        inputs=document.inputs,
    )


def _webhook(document: TriggerDocument, webhook: Webhook) -> WebhookTrigger:
    return WebhookTrigger(
        id=document.id,
        scheme=webhook.verify.scheme,
        secret=webhook.verify.secret,
        options=webhook.verify.options(),
        condition=condition_source(webhook.condition),
        dedupe_key=webhook.dedupe.key,
        dedupe_ttl=webhook.dedupe.ttl,
        inputs=document.inputs,
    )


def condition_source(condition: str | None) -> str | None:
    """The expression of a condition, without its `${{ }}`. The condition has been checked."""
    return split_template(condition.strip())[0].text if condition is not None else None
