"""Everything that is wrong with the files of one request, as one error.

`BadRequest` has a violation for each fault, for any client. `ErrorInfo.metadata["problems"]` holds the same as compact
JSON for a client that has the files and can show the places: a list of objects with `source` (the index of the file
in the request) and `code`, `message`, `severity`, `line`, `column`, `end_column`, `hint`, `path`, where what is empty
is left out. `metadata["problem_count"]` counts all of them, also those that did not fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from taskforge.domain.errors import FieldViolation, InvalidArgument
from taskforge.domain.workflow import JsonValue
from taskforge.gateway.violations import BUDGET_BYTES, MAX_ITEMS, cost, rest, shortened
from taskforge.language.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of one of the files."""

    source: int  #: the file's index in the request
    filename: str
    problem: Problem

    @property
    def place(self) -> str:
        """Where it is: `release.yaml:4:7`."""
        name = self.filename or f"sources[{self.source}]"
        return f"{name}:{self.problem.line}:{self.problem.column}"

    @property
    def text(self) -> str:
        """What it is: `TF1102: unknown key 'stesp' (did you mean 'steps'?)`."""
        hint = f" ({self.problem.hint})" if self.problem.hint else ""
        return f"{self.problem.code}: {self.problem.message}{hint}"


def workflow_invalid(findings: Sequence[Finding]) -> InvalidArgument:
    """The error that lists all faults, as many as fit into one answer."""
    violations: list[FieldViolation] = []
    documents: list[Mapping[str, JsonValue]] = []
    left = BUDGET_BYTES
    for finding in findings:
        violation = shortened(FieldViolation(field=finding.place, description=finding.text))
        document = _document(finding)
        left -= cost(violation) + len(_json(document).encode())
        if left < 0 or len(violations) == MAX_ITEMS:
            violations.append(rest(len(findings) - len(violations)))
            break
        violations.append(violation)
        documents.append(document)
    first = findings[0]
    return InvalidArgument(
        "WORKFLOW_INVALID",
        f"{_summary(findings)}; the first is at {first.place[:200]}: {first.text[:300]}",
        hint="check the files with: taskforge workflow validate FILE",
        metadata={"problems": _json(documents), "problem_count": str(len(findings))},
        violations=violations,
    )


def _summary(findings: Sequence[Finding]) -> str:
    files = len({finding.source for finding in findings})
    return f"{len(findings)} fault{'s' * (len(findings) > 1)} in {files} file{'s' * (files > 1)}"


def _document(finding: Finding) -> Mapping[str, JsonValue]:
    problem = {key: value for key, value in asdict(finding.problem).items() if value != ""}
    return {"source": finding.source, **problem, "message": finding.problem.message[:400]}


def _json(document: JsonValue) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
