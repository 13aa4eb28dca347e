"""What `taskforge doctor` looks at where the stack is made of containers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from taskforge_cli.stack import docker, ports
from taskforge_cli.stack.compose import ComposeStack
from taskforge_cli.stack.compose_status import STARTING
from taskforge_cli.stack.docker import Container
from taskforge_cli.stack.errors import StackError
from taskforge_cli.stack.findings import Finding, fail, ok
from taskforge_cli.stack.home_checks import check_home
from taskforge_cli.stack.machine_checks import check_machine


def examine(stack: ComposeStack, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Run every check that makes sense in the state the stack is in. Changes nothing."""
    environ = os.environ if environ is None else environ
    private = [path for path in (stack.folder, stack.env_file, stack.secrets_dir) if path.exists()]
    return [
        *check_machine(stack.home, containers=True),
        _docker(environ),
        *check_home(stack.home, environ, secrets=stack.secrets_dir, private=private),
        *_check_stack(stack),
    ]


def _docker(environ: Mapping[str, str]) -> Finding:
    try:
        programs = docker.locate(environ)
        version = programs.ask("version", "--format", "{{.Server.Version}}").strip()
    except StackError as error:
        return fail("docker", error.message, error.hint)
    return ok("docker", f"{version}, with {'docker compose' if len(programs.compose) > 1 else 'docker-compose'}")


def _check_stack(stack: ComposeStack) -> Iterator[Finding]:
    try:
        status, found = stack.status(), stack.containers()
    except StackError as error:
        yield fail("stack", error.message, error.hint)
        return
    yield ok("project", f"{stack.project}, prepared in {stack.folder}")
    yield _port(stack, found)
    if not status.running:
        yield ok("stack", "down; start it with: taskforge up")
        return
    for row in status.processes:
        if row.healthy or row.state == STARTING:
            yield ok(row.name, "healthy" if row.healthy else "starting")
        else:
            why = f"taskforge logs {row.name}, then: " if any(each.name == row.name for each in found) else ""
            yield fail(row.name, f"{row.state.lower()}: {row.message or 'not healthy'}", f"{why}taskforge up")


def _port(stack: ComposeStack, found: list[Container]) -> Finding:
    edge = stack.edge()
    if any(edge.port in each.ports for each in found):
        return ok("port", f"{edge.port}: the stack's own")
    if edge.is_free(edge.port):
        return ok("port", f"{edge.port} is free")
    fix = "stop that program, or choose another port: taskforge up --port N"
    return fail("port", f"{edge.port} is taken by {ports.holder(edge.port)}", fix)
