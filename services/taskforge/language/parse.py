"""The way in: `parse_workflow(source)` gives a compiled workflow, or every problem of the file at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from taskforge.domain.workflow import Step, Workflow
from taskforge.language.compile_steps import check_programs_together, check_step, compile_output, compile_step
from taskforge.language.compile_triggers import TriggerCompiler, TriggerDraft, read_triggers
from taskforge.language.declared_inputs import read_inputs
from taskforge.language.document_workflow import WorkflowDocument
from taskforge.language.drafts import Drafts
from taskforge.language.faults import read_part
from taskforge.language.places import step_places, template_places
from taskforge.language.problems import Problem, Severity
from taskforge.language.reference_fields import trigger_fields
from taskforge.language.references import Reads, ReferenceChecker, Scope
from taskforge.language.yaml_tree import Tree, YamlError, read_yaml

MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A compiled workflow, or None when there is an error. Problems are sorted by place; warnings may stand alone."""

    workflow: Workflow | None
    problems: tuple[Problem, ...] = ()
    filename: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the workflow from being used."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def source_hash(source: str) -> str:
    """What identifies a definition: the SHA-256 of its text, in hex."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def parse_workflow(source: str, *, filename: str = "") -> Parsed:
    """Parse, check and compile one workflow file. Deterministic; never raises on what the file holds."""
    problems: list[Problem] = []
    workflow: Workflow | None = None
    try:
        tree = read_yaml(source, problems)
        if isinstance(tree.value, dict):
            workflow = _Compilation(tree, problems).run(source)
        else:
            hint = "start with name: and steps:"
            problems.append(Problem(code="TF1101", message="a workflow is an object with keys", hint=hint))
    except YamlError as error:
        problems.append(error.problem)
    unique = dict.fromkeys(sorted(problems, key=lambda problem: (problem.line, problem.column, problem.code)))
    return Parsed(workflow=workflow, problems=tuple(unique)[:MAX_PROBLEMS], filename=filename)


class _Compilation:
    """One file on its way from a tree to a workflow."""

    def __init__(self, tree: Tree, problems: list[Problem]) -> None:
        self.tree = tree
        self.problems = problems
        self.document = read_part(WorkflowDocument, tree.value, (), tree, problems)
        self.triggers = read_triggers(tree, problems)
        self.declared = read_inputs(tree, problems)
        self.drafts = Drafts(tree, problems)
        self.checker = ReferenceChecker(tree, self.drafts, problems, maybe_missing=self.declared.maybe_missing)
        self.fields = _fields_of_triggers(self.triggers)

    def run(self, source: str) -> Workflow | None:
        """Check everything; compile it if nothing is wrong."""
        compiler = TriggerCompiler(self.tree, self.problems, self.checker, self.declared)
        for trigger in self.triggers:
            compiler.compile(trigger)
        reads = self._check_steps()
        output_reads = Reads()
        for place in template_places(self.tree.value.get("output"), ("output",)):
            self.checker.check(place, Scope(trigger_fields=self.fields), output_reads)
        self._check_fixed_places()
        document = self.document
        if document is None or any(problem.severity is Severity.ERROR for problem in self.problems):
            return None
        has_output = "output" in document.model_fields_set
        steps: list[Step] = [compile_step(draft, reads[draft.index]) for draft in self.drafts.all]
        if has_output:
            steps.append(compile_output(document.output, len(steps), output_reads))
        return Workflow(
            name=document.name,
            source_hash=source_hash(source),
            steps=tuple(steps),
            description=document.description,
            labels=document.labels,
            inputs=self.declared.schemas,
            required_inputs=tuple(self.declared.required),
            schedules=tuple(compiler.schedules),
            webhooks=tuple(compiler.webhooks),
            timeout=document.timeout,
            has_output=has_output,
        )

    def _check_steps(self) -> list[Reads]:
        compile_programs = check_programs_together(self.drafts.all, self.tree, self.problems)
        all_reads = []
        for draft in self.drafts.all:
            reads = Reads()
            scope = Scope(reader=draft, before=draft.before, trigger_fields=self.fields)
            for place in step_places(draft.raw, draft.path):
                self.checker.check(place, scope, reads)
            if compile_programs:
                check_step(draft, self.tree, self.problems)
            all_reads.append(reads)
        return all_reads

    def _check_fixed_places(self) -> None:
        """Refuse expressions in the keys at the top that are none of the above."""
        for key in ("name", "description", "labels", "timeout"):
            for place in template_places(self.tree.value.get(key), (key,)):
                self.checker.refuse(place)


def _fields_of_triggers(triggers: list[TriggerDraft]) -> frozenset[str]:
    has_webhook = any("webhook" in trigger.raw for trigger in triggers)
    has_schedule = any("webhook" not in trigger.raw for trigger in triggers)
    return trigger_fields(webhook=has_webhook, schedule=has_schedule)
