"""What `taskforge doctor` looks at: the machine, the home folder, the stack. Each finding says how it is mended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from taskforge_cli.stack import allocation, config, ports, processes
from taskforge_cli.stack.config import Configuration
from taskforge_cli.stack.errors import StackError
from taskforge_cli.stack.findings import Finding, Verdict, fail, ok, warn
from taskforge_cli.stack.home_checks import check_home
from taskforge_cli.stack.local import LocalStack
from taskforge_cli.stack.machine_checks import check_machine
from taskforge_cli.stack.postgres import DURABILITY
from taskforge_cli.stack.status import StackStatus


def examine(stack: LocalStack, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Run every check that makes sense in the state the stack is in. Changes nothing."""
    environ = os.environ if environ is None else environ
    findings = [*check_machine(stack.home), *check_home(stack.home, environ)]
    try:
        configuration = config.load(stack.home, environ)
        status = stack.status()
    except StackError:
        return findings  # what is in the way has been found above
    return [*findings, *_check_stack(stack, configuration, status)]


def repair(findings: list[Finding]) -> list[Finding]:
    """Mend what can be mended without a decision of the user's. Returns the findings that were acted on."""
    mended = []
    for finding in findings:
        if finding.repair is not None and finding.verdict is not Verdict.OK:
            finding.repair()
            mended.append(finding)
    return mended


def _check_stack(stack: LocalStack, configuration: Configuration, status: StackStatus) -> Iterator[Finding]:
    yield _port(configuration, status)
    if not status.running:
        yield _leftovers(stack, allocation.recorded_id(configuration.file))
        return
    for row in status.processes:
        if row.healthy:
            yield ok(row.name, f"healthy, pid {row.pid}")
        else:
            yield fail(
                row.name, f"{row.state.lower()}, not healthy {row.message}".strip(), f"taskforge logs {row.name}"
            )
    yield _durability(stack)


def _port(configuration: Configuration, status: StackStatus) -> Finding:
    port = configuration.value("local.port")
    if status.running:
        return ok("port", f"{port}: the stack's own")
    if ports.is_free(port):
        return ok("port", f"{port} is free")
    message = f"{port} is taken by {ports.holder(port)}"
    if configuration.port_is_pinned:
        return fail("port", message, "stop that program, or choose another port: taskforge up --port N")
    return warn("port", message, "taskforge up chooses another")


def _leftovers(stack: LocalStack, stack_id: str) -> Finding:
    found = processes.find(stack_id) if stack_id else []
    if not found:
        return ok("stack", "down; start it with: taskforge up")
    names = ", ".join(dict.fromkeys(process.name for process in found if process.name))
    return fail("stack", f"these run without their supervisor: {names}", "taskforge up", lambda: _stop(stack))


def _stop(stack: LocalStack) -> None:
    stack.down()


def _durability(stack: LocalStack) -> Finding:
    """What was answered must be on the disk: held against the running server, not against its configuration."""
    query = " UNION ALL ".join(f"SELECT '{name}', current_setting('{name}')" for name in DURABILITY)
    try:
        rows = dict(row.split("|", 1) for row in stack.query_database(query).splitlines())
    except StackError as error:
        return fail("durability", error.message, "taskforge logs postgres")
    wrong = [f"{name} is {rows.get(name)}" for name, value in DURABILITY.items() if rows.get(name) != value]
    if wrong:
        fix = "remove it from [local.postgres] in the config file, then: taskforge restart"
        return fail("durability", ", ".join(wrong), fix)
    return ok("durability", ", ".join(f"{name} {value}" for name, value in DURABILITY.items()))
