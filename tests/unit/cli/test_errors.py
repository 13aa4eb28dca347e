from __future__ import annotations

import io
import json

from taskforge.v1.error_reason_pb2 import ErrorReason
from taskforge_cli import codes
from taskforge_cli.codes import ExitCode
from taskforge_cli.errors import CliError, render, server_error, show
from taskforge_cli.paint import Paint
from taskforge_cli.stack.errors import StackError

PLAIN = Paint(enabled=False)


def test_an_error_has_one_shape() -> None:
    error = CliError("SERVER_UNREACHABLE", "cannot reach it", hints=["start it with: taskforge up"])
    assert render(error, PLAIN) == "error[SERVER_UNREACHABLE]: cannot reach it\n  = start it with: taskforge up"
    assert error.exit_code == 7


def test_every_fault_of_a_request_is_shown() -> None:
    details = [{"field": "inputs.n", "description": "must be a number"}, {"field": "", "description": "and 3 more"}]
    error = server_error("INPUTS_INVALID", "the inputs do not fit", hint="look", details=details)
    assert render(error, PLAIN).splitlines() == [
        "error[INPUTS_INVALID]: the inputs do not fit",
        "  inputs.n: must be a number",
        "  and 3 more",
        "  = look",
    ]


def test_for_programs_an_error_is_json() -> None:
    stream = io.StringIO()
    show(server_error("RUN_NOT_FOUND", "no such run", hint=""), as_json=True, file=stream)
    assert json.loads(stream.getvalue()) == {
        "error": {
            "code": "RUN_NOT_FOUND",
            "message": "no such run",
            "exit_code": 5,
            "hint": "taskforge run list shows the newest.",
            "hints": ["taskforge run list shows the newest."],
        }
    }


def test_a_reason_that_this_version_does_not_know_is_shown_as_it_is() -> None:
    error = server_error("NEW_REASON", "something", hint="do this")
    assert render(error, PLAIN) == "error[NEW_REASON]: something\n  = do this"
    assert error.exit_code is ExitCode.ERROR


def test_every_reason_of_the_api_has_an_exit_code() -> None:
    declared = {value.name.removeprefix("ERROR_REASON_") for value in ErrorReason.DESCRIPTOR.values if value.number}
    assert set(codes.SERVER_REASONS) == declared


def test_codes_are_unique_and_every_exit_code_is_explained() -> None:
    kinds: list[type[StackError]] = [StackError, *StackError.__subclasses__()]
    stack = [kind.code for kind in kinds]
    every = [*codes.CLI_CODES, *codes.SERVER_REASONS, *stack]
    assert len(every) == len(set(every))
    assert set(codes.EXIT_MEANINGS) == set(ExitCode)
    assert {kind.exit_code for kind in StackError.__subclasses__()} <= {int(code) for code in ExitCode}


def test_every_code_says_what_to_do() -> None:
    for code, entry in {**codes.CLI_CODES, **codes.SERVER_REASONS}.items():
        assert entry.fix.endswith("."), code
    assert all(entry.title for entry in codes.CLI_CODES.values())
