"""`taskforge doctor`: checks, and how to mend what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskforge_cli.codes import ExitCode
from taskforge_cli.commanding import Command
from taskforge_cli.errors import CliError, QuietError
from taskforge_cli.session import Session

if TYPE_CHECKING:
    from taskforge_cli.output import Output
    from taskforge_cli.stack.findings import Finding

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SIGNS = {"ok": ("✓", "good"), "warn": ("!", "warn"), "fail": ("✗", "bad")}
_CALL_SECONDS = 5.0


@app.command("doctor", cls=Command)
def doctor(
    ctx: typer.Context,
    mend: Annotated[bool, typer.Option("--fix", help="Mend what needs no decision.")] = False,
) -> None:
    """Look at the machine, the home folder, the stack and the server. Exit code 1 if something must be mended."""
    from taskforge_cli.stack.doctor import repair
    from taskforge_cli.stack.findings import Verdict

    session = Session.of(ctx)
    findings = _examine()
    if mend and repair(findings):
        findings = _examine()
    findings = [*findings, _server(session)]
    if session.output.is_human:
        _show(session.output, findings)
    else:
        session.output.listed([_document(finding) for finding in findings], "checks")
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise QuietError(ExitCode.ERROR)


def _examine() -> list[Finding]:
    """The checks of the runtime that is configured; of the local one where that cannot be read."""
    from taskforge_cli.stack import compose_doctor, doctor
    from taskforge_cli.stack.compose import ComposeStack
    from taskforge_cli.stack.errors import StackError
    from taskforge_cli.stack.local import LocalStack
    from taskforge_cli.stack_session import open_stack

    try:
        stack = open_stack()
    except StackError:
        stack = LocalStack()
    return compose_doctor.examine(stack) if isinstance(stack, ComposeStack) else doctor.examine(stack)


def _server(session: Session) -> Finding:
    """Ask the server through its public door, as every other command does."""
    from taskforge.v1.system_service_pb2 import GetStatusRequest, Status
    from taskforge_cli.stack.findings import fail, ok, warn

    try:
        client = session.client()
        status = client.call("SystemService/GetStatus", GetStatusRequest(), Status, timeout=_CALL_SECONDS)
    except CliError as error:
        return fail("server", error.message, error.hints[0] if error.hints else "")
    ill = [f"{part.name}: {part.message}" for part in status.components if not part.healthy]
    if ill:
        return fail("server", "; ".join(ill), "taskforge logs")
    if status.open_dead_letters:
        return warn("server", f"{status.open_dead_letters} open dead letters", "taskforge dead-letter list")
    return ok("server", f"{client.server.url} answers, version {status.version}")


def _show(output: Output, findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        sign, style = _SIGNS[finding.verdict.value]
        name = output.paint(f"{finding.name:<{width}}", "strong")
        output.text(f"{output.paint(sign, style)} {name}  {finding.message}\n")
        if finding.fix and finding.verdict.value != "ok":
            output.text(f"  {' ' * width}  {output.paint('=', 'faint')} {finding.fix}\n")
    bad = sum(1 for finding in findings if finding.verdict.value == "fail")
    doubtful = sum(1 for finding in findings if finding.verdict.value == "warn")
    output.note(f"{len(findings)} checks, {bad} failed, {doubtful} to look at")


def _document(finding: Finding) -> dict[str, str]:
    return {
        "name": finding.name,
        "verdict": finding.verdict.value,
        "message": finding.message,
        "fix": finding.fix,
    }
