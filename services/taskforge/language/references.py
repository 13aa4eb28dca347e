"""Checks what expressions refer to: steps that have ended, declared inputs, known fields, secrets in their places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from taskforge.language import cel
from taskforge.language.cel import CompileError
from taskforge.language.cel_ast import Reference
from taskforge.language.drafts import Draft, Drafts
from taskforge.language.expressions import Part, ScanError, split_template
from taskforge.language.paths import format_reference
from taskforge.language.places import Kind, Place, locate, reference_length
from taskforge.language.problems import Problem, Severity, did_you_mean, format_path
from taskforge.language.reference_fields import (
    RUN_FIELDS,
    STEP_FIELDS,
    MisreadError,
    check_error,
    check_field,
    check_output,
    check_trigger,
    goes_on,
    secret_name,
)
from taskforge.language.yaml_tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who reads, and what it may see."""

    reader: Draft | None = None  #: None: the workflow's output, or a trigger
    names: frozenset[str] = frozenset({"inputs", "trigger", "steps", "run"})
    before: int = 0  #: bit set of the steps that have ended
    trigger_fields: frozenset[str] = frozenset()
    must_be_cheap: bool = False


@dataclass(slots=True)
class Reads:
    """What the expressions of one step use."""

    steps: set[int] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)


class ReferenceChecker:
    """Checks the expressions of one file."""

    def __init__(self, tree: Tree, drafts: Drafts, problems: list[Problem], *, maybe_missing: Iterable[str]) -> None:
        self._tree = tree
        self._drafts = drafts
        self._problems = problems
        inputs = tree.value.get("inputs")
        self._inputs = frozenset(inputs) if isinstance(inputs, dict) else frozenset()
        self._maybe_missing = frozenset(maybe_missing)  # inputs that need not be given and have no default

    def check(self, place: Place, scope: Scope, reads: Reads) -> None:
        """Check one string of the document and note what it reads."""
        if place.kind is Kind.FIXED:
            return self.refuse(place)
        try:
            parts = split_template(place.text)
        except ScanError as error:
            hint = "a # after a space starts a comment: quote the value" if "}}" not in place.text else ""
            return self._report(place, error.offset, 3, MisreadError(str(error), hint, "TF1201"))
        code = [part for part in parts if part.is_code]
        if place.kind is Kind.CONDITION and (len(parts) != 1 or not code):
            return self._report(place, 0, len(place.text), MisreadError("a condition is one expression", code="TF1101"))
        for part in code:
            self._expression(place, part, scope, reads)
        return None

    def refuse(self, place: Place) -> None:
        """Report an expression where none is possible, unless the place is reported already."""
        path = format_path(place.path)
        if not any(problem.path == path for problem in self._problems):
            self._report(place, 0, len(place.text), MisreadError("an expression is not possible here", code="TF1201"))

    def _expression(self, place: Place, part: Part, scope: Scope, reads: Reads) -> None:
        try:
            expression = cel.compile(part.text)
        except CompileError as error:
            wrong = MisreadError(error.message, error.hint, error.code)
            return self._report(place, part.offset + error.offset, error.length, wrong)
        if place.kind is Kind.CONDITION and expression.result_type not in ("bool", "dyn"):
            wrong = MisreadError(f"a condition must be true or false, this is {expression.result_type}", code="TF1101")
            self._report(place, part.offset, len(part.text), wrong)
        if scope.must_be_cheap and not expression.is_cheap:
            wrong = MisreadError("this is too costly here", "do it in a step; triggers are judged on arrival", "TF1205")
            self._report(place, part.offset, len(part.text), wrong)
        is_guarded = any(reference.guarded or reference.path[2:3] == ("state",) for reference in expression.references)
        for reference in expression.references:
            try:
                self._reference(reference, place, scope, reads)
                if not is_guarded:
                    self._maybe(reference, scope)
            except MisreadError as wrong:
                length = reference_length(expression.source, reference.offset)
                self._report(place, part.offset + reference.offset, length, wrong)
        return None

    # --- one reference ----------------------------------------------------------------------------

    def _reference(self, reference: Reference, place: Place, scope: Scope, reads: Reads) -> None:
        root = reference.path[0]
        if root == "secrets":
            reads.secrets.add(secret_name(reference, place))
        elif root not in scope.names:
            raise MisreadError(f"'{root}' is not available here", f"here are: {', '.join(sorted(scope.names))}")
        elif root == "inputs":
            check_field(reference, self._inputs, "input")
        elif root == "run":
            check_field(reference, RUN_FIELDS, "field of run")
        elif root == "trigger":
            check_trigger(reference, scope.trigger_fields)
        else:
            reads.steps.add(self._step(reference, scope).index)

    def _step(self, reference: Reference, scope: Scope) -> Draft:
        path = reference.path
        if len(path) < 2 or not isinstance(path[1], str):
            raise MisreadError("a step is named, not computed", "write steps.NAME.output")
        other = self._drafts.by_id.get(path[1])
        if other is None:
            raise MisreadError(f"no step '{path[1]}'", did_you_mean(path[1], self._drafts.by_id))
        self._check_order(other, scope)
        if len(path) > 2 and path[2] not in STEP_FIELDS:
            raise MisreadError(f"a step has no '{path[2]}'", f"read {format_reference(path[:2])}.output.{path[2]}?")
        if path[2:3] == ("error",):
            check_error(other, reference)
        elif not reference.guarded:
            check_output(other, reference)
        return other

    def _check_order(self, other: Draft, scope: Scope) -> None:
        reader = scope.reader
        if reader is None:
            return
        if other is reader:
            raise MisreadError(f"step '{other.id}' reads itself", code="TF1203")
        if other.is_inside(reader) or other.index > reader.index:
            raise MisreadError(f"step '{other.id}' runs after '{reader.id}'", "a step reads steps above it", "TF1203")
        taken = dict(reader.ancestors())
        if any(switch in taken and taken[switch] != branch for switch, branch in other.ancestors()):
            raise MisreadError(
                f"steps '{other.id}' and '{reader.id}' are in two branches: only one of them runs", code="TF1203"
            )
        if not scope.before >> other.index & 1:
            names = [*_written_needs(reader, self._drafts), other.id]
            raise MisreadError(
                f"step '{other.id}' may not have finished when '{reader.id}' starts",
                f"add it: needs: [{', '.join(names)}]",
                "TF1203",
            )

    def _maybe(self, reference: Reference, scope: Scope) -> None:
        """Warn of a value that some runs do not have, read in an expression that tests nothing."""
        path = reference.path
        if path[0] == "inputs" and len(path) > 1 and path[1] in self._maybe_missing:
            reason = f"the input '{path[1]}' has no default and need not be given"
            raise _maybe_missing(reason, path[:2])
        if path[0] != "steps" or len(path) < 3 or path[2] == "state":
            return
        if path[2] == "error":
            raise _maybe_missing(f"step '{path[1]}' has an error only when it failed", path[:3])
        skipped = self._why_skipped(self._drafts.by_id[str(path[1])], scope)
        if skipped is not None:
            raise _maybe_missing(skipped, path[:3])

    def _why_skipped(self, other: Draft, scope: Scope) -> str | None:
        taken = dict(scope.reader.ancestors()) if scope.reader is not None else {}
        if any(other.id in condition or condition == other.raw.get("if") for condition in _conditions(scope.reader)):
            return None  # whoever tests the step before, knows
        for switch, branch in other.ancestors():
            if taken.get(switch) != branch:
                return f"step '{other.id}' runs only in one branch of '{switch.id}'"
        if "if" in other.raw:
            return f"step '{other.id}' is skipped when its `if` is false"
        if goes_on(other):
            return f"step '{other.id}' may have failed (on_error: continue)"
        return None

    def _report(self, place: Place, offset: int, length: int, wrong: MisreadError) -> None:
        span = locate(self._tree, place.path, place.text, offset, length)
        self._problems.append(
            Problem(
                code=wrong.code,
                severity=wrong.severity,
                message=str(wrong),
                hint=wrong.hint,
                path=format_path(place.path),
                line=span.line,
                column=span.column,
                end_column=span.end_column,
            )
        )


def _maybe_missing(reason: str, path: tuple[str | int, ...]) -> MisreadError:
    return MisreadError(reason, f"guard it: has({format_reference(path)}) ? … : …", "TF1901", Severity.WARNING)


def _written_needs(draft: Draft, drafts: Drafts) -> list[str]:
    """What `needs` says, or would say for the default."""
    written = draft.raw.get("needs")
    if isinstance(written, list):
        return [name for name in written if isinstance(name, str)]
    return [draft.above.id] if draft.above is not None else []


def _conditions(reader: Draft | None) -> Iterator[str]:
    """The conditions under which a step runs: its own, and those of the branches it is in."""
    if reader is None:
        return
    yield str(reader.raw.get("if", ""))
    for switch, branch in reader.ancestors():
        document = switch.branches[branch]
        yield str(switch.raw.get("if", ""))
        yield (document.condition or "") if document is not None else ""
