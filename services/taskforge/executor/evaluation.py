"""Expressions and programs: cheap ones here, costly ones in the sandbox, failures as step faults."""

from __future__ import annotations

from collections.abc import Mapping

from taskforge.domain.outcome import ErrorKind
from taskforge.domain.workflow import JsonValue
from taskforge.executor.faults import NotHere, StepFault, fault
from taskforge.language.cel import Expression, ExpressionError
from taskforge.language.templates import Template
from taskforge.sandbox.pool import SandboxPool
from taskforge.sandbox.requests import (
    CelRequest,
    EvaluationFailed,
    EvaluationOutOfMemory,
    EvaluationTimedOut,
    InputRefused,
    JqRequest,
    Ok,
    OutputInvalid,
    OutputTooLarge,
    Request,
    Result,
    SandboxBusy,
    SandboxClosedError,
    SandboxFailed,
)

EXPRESSION_SECONDS = 2.0
PROGRAM_SECONDS = 10.0

Context = Mapping[str, JsonValue]


class Evaluator:
    """Evaluates conditions, templates and jq programs. Raises StepFault, or NotHere when the sandbox is at fault."""

    def __init__(self, sandbox: SandboxPool) -> None:
        self._sandbox = sandbox

    async def holds(self, condition: Expression, context: Context) -> bool:
        """Whether a condition is true."""
        try:
            if not condition.costly(context):
                return condition.holds(context)
            return condition.holds(context, await self._evaluate_apart((condition,), context))
        except ExpressionError as error:
            raise fault(ErrorKind.EXPRESSION, str(error)) from error

    async def render(self, template: Template, context: Context) -> JsonValue:
        """A template's value."""
        try:
            costly = template.costly(context) if template.expressions else ()
            if not costly:
                return template.evaluate(context)
            return template.evaluate(context, await self._evaluate_apart(costly, context))
        except ExpressionError as error:
            raise fault(ErrorKind.EXPRESSION, str(error)) from error

    async def run_jq(self, program: str, value: JsonValue) -> JsonValue:
        """What a program makes of its input."""
        return await self._ask(JqRequest(program=program, input=value), PROGRAM_SECONDS, "jq")

    async def _evaluate_apart(self, expressions: tuple[Expression, ...], context: Context) -> dict[str, JsonValue]:
        return {
            expression.source: await self._ask(
                CelRequest(expression=expression.source, context=expression.prune(context)),
                EXPRESSION_SECONDS,
                f"${{{{ {expression.source} }}}}",
            )
            for expression in expressions
        }

    async def _ask(self, request: Request, seconds: float, what: str) -> JsonValue:
        try:
            result = await self._sandbox.evaluate(request, seconds)
        except SandboxClosedError as error:
            raise NotHere("the executor is stopping") from error
        if isinstance(result, Ok):
            return result.value
        raise _failure(result, what)


def _failure(result: Result, what: str) -> StepFault | NotHere:
    match result:
        case SandboxBusy() | SandboxFailed():
            return NotHere(result.message)
        case OutputTooLarge() | OutputInvalid():
            return fault(ErrorKind.OUTPUT, f"{what}: {result.message}")
        case EvaluationFailed() if result.message.startswith("${{"):
            return fault(ErrorKind.EXPRESSION, result.message)  # CEL names its expression itself
        case EvaluationFailed() | EvaluationTimedOut() | EvaluationOutOfMemory() | InputRefused():
            return fault(ErrorKind.EXPRESSION, f"{what}: {result.message}")
        case Ok():
            raise ValueError("a result that is no failure")
