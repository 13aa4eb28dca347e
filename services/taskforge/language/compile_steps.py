"""Steps of a document: what each action takes, its defaults, and the `domain.Step` it compiles to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskforge.domain.workflow import (
    NO_RETRY,
    ActionKind,
    Backoff,
    Effect,
    Jitter,
    JsonValue,
    OnUnknown,
    RetryPolicy,
    Step,
)
from taskforge.language.compile_triggers import condition_source
from taskforge.language.document_steps import HttpAction, Retry, StepDocument
from taskforge.language.drafts import OUTPUT_ID, Draft
from taskforge.language.jq_programs import MAX_TOTAL_CHARS, check_jq
from taskforge.language.places import locate
from taskforge.language.problems import Problem, Severity, format_path, problem_at
from taskforge.language.references import Reads
from taskforge.language.yaml_tree import Path, Tree

HTTP_TIMEOUT = 60.0
PURE_TIMEOUT = 10.0
SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
DEFAULT_ATTEMPTS = 3
#: What is retried by default when repeating is safe; else only `connect`: then nothing can have happened.
SAFE_CLASSES = frozenset({"connect", "timeout", "network", "429", "5xx"})
CONNECT_ONLY = frozenset({"connect"})

_UNCERTAIN = frozenset({"timeout", "network", "5xx"})
_ONLY_FOR_HTTP = ("retry", "effect", "on_unknown")


def check_step(draft: Draft, tree: Tree, problems: list[Problem]) -> None:
    """Rules of a step that hold between its keys, and its jq program."""
    document = draft.document
    program = _program(draft)
    if program is not None:
        _check_program(draft.path, program, tree, problems)
    if document is None:
        return
    if document.http is None:
        for key in _ONLY_FOR_HTTP:
            if key in document.model_fields_set:
                _report(tree, problems, (*draft.path, key), "TF1902", f"{key} has no effect on {document.action}")
    elif _effect(document) is Effect.AT_MOST_ONCE:
        _check_at_most_once(draft.path, document, tree, problems)


def _check_at_most_once(path: Path, document: StepDocument, tree: Tree, problems: list[Problem]) -> None:
    if document.on_unknown == "retry":
        message = "on_unknown: retry contradicts effect: at_most_once"
        _report(tree, problems, (*path, "on_unknown"), "TF1105", message)
    risky = sorted(_UNCERTAIN & set(document.retry.on or ())) if document.retry is not None else []
    if risky:
        message = f"at_most_once cannot be retried on {', '.join(risky)}: the request may have taken effect"
        _report(
            tree, problems, (*path, "retry", "on"), "TF1105", message, "use effect: at_least_once, or other classes"
        )


def _check_program(path: Path, program: str, tree: Tree, problems: list[Problem]) -> None:
    fault = check_jq(program)
    if fault is None:
        return
    where = (*path, "transform", "jq")
    lines = program.split("\n")
    offset = sum(len(line) + 1 for line in lines[: fault.line - 1]) + fault.column - 1
    place = locate(tree, where, program, min(offset, len(program)))
    found = problem_at(place, code="TF1206", message=fault.message, hint=fault.hint, path=format_path(where))
    problems.append(found)


def _program(draft: Draft) -> str | None:
    transform = draft.raw.get("transform")
    program = transform.get("jq") if isinstance(transform, dict) else None
    return program if isinstance(program, str) else None


def check_programs_together(drafts: list[Draft], tree: Tree, problems: list[Problem]) -> bool:
    """Whether all jq programs together are small enough to be compiled here."""
    total = sum(len(_program(draft) or "") for draft in drafts)
    if total > MAX_TOTAL_CHARS:
        message = f"the jq programs have {total} characters together; {MAX_TOTAL_CHARS} are allowed"
        _report(tree, problems, ("steps",), "TF1206", message)
    return total <= MAX_TOTAL_CHARS


def compile_step(draft: Draft, reads: Reads) -> Step:
    """The compiled step. Its document is sound."""
    document = draft.document
    if document is None:
        raise ValueError(f"step {draft.id} has no sound document")
    effect = _effect(document)
    retry = _retry(document.retry, effect) if document.http is not None else NO_RETRY
    return Step(
        index=draft.index,
        id=document.id,
        kind=ActionKind(document.action),
        params=_params(draft, document),
        name=document.name,
        condition=condition_source(document.condition),
        needs=draft.needs,
        reads=tuple(sorted(reads.steps)),
        secrets=tuple(sorted(reads.secrets)),
        parent=draft.parent.index if draft.parent is not None else None,
        branch=draft.branch,
        timeout=document.timeout or (HTTP_TIMEOUT if document.http is not None else PURE_TIMEOUT),
        retry=retry,
        continue_on_error=_on_error(draft) == "continue",
        effect=effect,
        on_unknown=_on_unknown(document, effect),
        labels=document.labels,
    )


def compile_output(value: JsonValue, index: int, reads: Reads) -> Step:
    """The hidden last step that evaluates the workflow's `output`."""
    return Step(
        index=index,
        id=OUTPUT_ID,
        kind=ActionKind.OUTPUT,
        params={"value": value},
        needs=tuple(range(index)),
        reads=tuple(sorted(reads.steps)),
        timeout=PURE_TIMEOUT,
    )


def _effect(document: StepDocument) -> Effect:
    if document.http is None:
        return Effect.PURE
    if document.effect is not None:
        return Effect(document.effect)
    return Effect.IDEMPOTENT if document.http.method in SAFE_METHODS else Effect.AT_LEAST_ONCE


def _on_unknown(document: StepDocument, effect: Effect) -> OnUnknown:
    if document.http is not None and document.on_unknown is not None:
        return OnUnknown(document.on_unknown)
    return OnUnknown.FAIL if effect is Effect.AT_MOST_ONCE else OnUnknown.RETRY


def _on_error(draft: Draft) -> str:
    """What the step says, else the innermost switch around it that says something."""
    for document in (draft.document, *(switch.document for switch, _ in draft.ancestors())):
        if document is not None and document.on_error is not None:
            return document.on_error
    return "fail"


def _retry(retry: Retry | None, effect: Effect) -> RetryPolicy:
    is_safe = effect in (Effect.PURE, Effect.IDEMPOTENT)
    default = SAFE_CLASSES if is_safe else CONNECT_ONLY
    if retry is None:
        return RetryPolicy(max_attempts=DEFAULT_ATTEMPTS, on=default)
    return RetryPolicy(
        max_attempts=retry.max_attempts,
        on=frozenset(retry.on) if retry.on is not None else default,
        backoff=Backoff(retry.backoff),
        initial=retry.initial,
        factor=float(retry.factor),
        max_delay=retry.max,
        jitter=Jitter(retry.jitter),
        max_elapsed=retry.max_elapsed,
    )


def _params(draft: Draft, document: StepDocument) -> Mapping[str, JsonValue]:
    if document.http is not None:
        return _http_params(document.http)
    if document.switch is not None:
        branches = [condition_source(branch.condition) if branch is not None else None for branch in draft.branches]
        return {"branches": branches}
    if document.transform is not None:
        transform = document.transform
        if transform.jq is not None:
            return {"jq": transform.jq, "input": transform.input}
        return {"value": transform.value}
    if document.log is not None:
        log: dict[str, Any] = {"message": document.log.message, "level": document.log.level}
        return log | ({"data": document.log.data} if "data" in document.log.model_fields_set else {})
    return {"message": document.fail.message if document.fail is not None else ""}


def _http_params(http: HttpAction) -> Mapping[str, JsonValue]:
    params: dict[str, Any] = {"method": http.method, "url": http.url, "query": http.query, "headers": http.headers}
    if "json_body" in http.model_fields_set:
        params["json"] = http.json_body
    elif http.form is not None:
        params["form"] = http.form
    elif http.body is not None:
        params["body"] = http.body
    if http.auth is not None and http.auth.basic is not None:
        basic = http.auth.basic
        params["auth"] = {"type": "basic", "username": basic.username, "password": basic.password}
    elif http.auth is not None:
        params["auth"] = {"type": "bearer", "token": http.auth.bearer}
    params["expect_status"] = list(http.expect.status)
    params["follow_redirects"] = http.follow_redirects
    params["max_body"] = http.max_body
    return params


def _report(tree: Tree, problems: list[Problem], path: Path, code: str, message: str, hint: str = "") -> None:
    place = tree.span(path, key=True)
    severity = Severity.WARNING if code == "TF1902" else Severity.ERROR
    problems.append(
        Problem(
            code=code,
            severity=severity,
            message=message,
            hint=hint,
            path=format_path(path),
            line=place.line,
            column=place.column,
            end_column=place.end_column,
        )
    )
