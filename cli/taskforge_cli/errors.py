"""Errors as the user sees them: a code, what is wrong, where, and the exact next thing to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from taskforge_cli import codes
from taskforge_cli.codes import ExitCode
from taskforge_cli.paint import Paint


class CliError(Exception):
    """A failure that the user is told about."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hints: Sequence[str] = (),
        exit_code: ExitCode | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hints = tuple(hint for hint in hints if hint)  #: next things to do, most useful first
        self.exit_code = codes.exit_code_of(code) if exit_code is None else exit_code
        self.details = tuple(details)  #: `{field, description}`, or problems of a definition
        self.body = body  #: ready-made text that stands for message and details, for a terminal

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON shows it."""
        found: dict[str, Any] = {"code": self.code, "message": self.message, "exit_code": int(self.exit_code)}
        if self.hints:
            found["hint"] = self.hints[0]
            found["hints"] = list(self.hints)
        if self.details:
            found["details"] = [dict(detail) for detail in self.details]
        return {"error": found}


class QuietError(Exception):
    """Ends the command with an exit code and nothing more to say."""

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__(exit_code.name)
        self.exit_code = exit_code


def server_error(reason: str, message: str, *, hint: str, details: Sequence[Mapping[str, Any]] = ()) -> CliError:
    """An error that the server has told with a reason."""
    entry = codes.SERVER_REASONS.get(reason)
    exit_code = entry.exit_code if entry else ExitCode.ERROR
    return CliError(reason, message, hints=[hint or _fix(entry)], exit_code=exit_code, details=details)


def show(error: CliError, *, as_json: bool, file: TextIO | None = None) -> None:
    """Write an error to standard error."""
    file = file or sys.stderr
    if as_json:
        file.write(json.dumps(error.as_dict(), ensure_ascii=False) + "\n")
    else:
        file.write(render(error, Paint.for_stream(file)) + "\n")
    file.flush()


def render(error: CliError, paint: Paint) -> str:
    """The error in its one shape: `error[CODE]: message`, faults, then `= hint` lines."""
    first, *rest = (error.message or error.code).splitlines() or [error.code]
    lines = [error.body] if error.body else [f"{paint(f'error[{error.code}]', 'bad')}{paint(':', 'strong')} {first}"]
    if not error.body:
        lines += [f"  {line}" for line in rest]
        lines += [_detail(detail, paint) for detail in error.details]
    lines += [f"  {paint('=', 'faint')} {hint}" for hint in error.hints]
    return "\n".join(lines)


def _detail(detail: Mapping[str, Any], paint: Paint) -> str:
    field, description = str(detail.get("field", "")), str(detail.get("description", ""))
    return f"  {paint(field + ':', 'strong')} {description}" if field else f"  {description}"


def _fix(entry: codes.Entry | None) -> str:
    return entry.fix.replace("`", "") if entry else ""
