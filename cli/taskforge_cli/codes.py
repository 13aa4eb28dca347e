"""Every code that an error of the command line may carry, with its exit code and what to do: the one registry.

Codes never change meaning. Server reasons are those of `taskforge.v1.ErrorReason`; `docs/reference/errors.md` and
`docs/reference/exit-codes.md` are generated from here, and a test keeps both in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    INVALID = 3
    FORBIDDEN = 4
    NOT_FOUND = 5
    CONFLICT = 6
    UNREACHABLE = 7
    TIMEOUT = 8
    RUN_FAILED = 10
    RUN_CANCELLED = 11
    INTERRUPTED = 130


EXIT_MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.OK: "it worked",
    ExitCode.ERROR: "something unexpected, or a fault of the server",
    ExitCode.USAGE: "the command was used wrongly, or an input is missing or wrong",
    ExitCode.INVALID: "a definition has faults",
    ExitCode.FORBIDDEN: "not authenticated, or not allowed",
    ExitCode.NOT_FOUND: "there is no such thing",
    ExitCode.CONFLICT: "the state does not allow it, or something else holds the name",
    ExitCode.UNREACHABLE: "the server does not answer; it is safe to try again",
    ExitCode.TIMEOUT: "waited long enough; what was waited for goes on",
    ExitCode.RUN_FAILED: "the run that was waited for FAILED",
    ExitCode.RUN_CANCELLED: "the run that was waited for was CANCELLED",
    ExitCode.INTERRUPTED: "Ctrl-C",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known about a code before it happens. `title` is empty for reasons of the server: its proto has them."""

    exit_code: ExitCode
    fix: str
    title: str = ""


CLI_CODES: Mapping[str, Entry] = {
    "USAGE": Entry(
        ExitCode.USAGE, "`taskforge COMMAND --help` shows what it takes.", "an unknown command, option or value"
    ),
    "CONFIRMATION_MISSING": Entry(
        ExitCode.USAGE, "Give `--yes`.", "the command destroys something and nobody is there to ask"
    ),
    "FILE_UNREADABLE": Entry(
        ExitCode.USAGE, "Check the path and its permissions.", "a file or folder that was named cannot be read"
    ),
    "NO_WORKFLOW_FILES": Entry(
        ExitCode.USAGE, "Name a `*.yaml` file, or a folder that holds some.", "no workflow file was found"
    ),
    "INPUT_SYNTAX": Entry(
        ExitCode.USAGE,
        "Write `-i NAME=VALUE`; numbers, true/false, lists and objects are JSON.",
        "an input cannot be understood",
    ),
    "INPUT_UNKNOWN": Entry(
        ExitCode.USAGE, "`taskforge workflow show NAME` lists the inputs.", "the workflow declares no such input"
    ),
    "DURATION_SYNTAX": Entry(
        ExitCode.USAGE, "Write `30s`, `5m`, `2h` or `1d`.", "a duration or point in time cannot be understood"
    ),
    "JQ_INVALID": Entry(
        ExitCode.USAGE, "Try the program on `-o json` output.", "the program of `--jq` does not compile, or it failed"
    ),
    "COLUMN_UNKNOWN": Entry(ExitCode.USAGE, "Choose from the columns that the error lists.", "no such column"),
    "SECRET_EMPTY": Entry(ExitCode.USAGE, "Type a value, or pipe one in.", "the secret's value is empty"),
    "CONTEXT_UNKNOWN": Entry(
        ExitCode.NOT_FOUND, "`taskforge context list` shows them.", "the config has no such context"
    ),
    "SERVER_UNSET": Entry(
        ExitCode.CONFLICT,
        "`taskforge init` makes a local server; `taskforge context add NAME --server URL` names another.",
        "no server is configured: the command line never picks one by itself",
    ),
    "SERVER_INVALID": Entry(ExitCode.USAGE, "Write `http://HOST:PORT` or `https://HOST`.", "the server's URL is wrong"),
    "SERVER_UNREACHABLE": Entry(
        ExitCode.UNREACHABLE, "`taskforge up` starts the local one; `taskforge doctor` looks deeper.", "no answer"
    ),
    "CONNECTION_LOST": Entry(
        ExitCode.UNREACHABLE,
        "Look before you repeat a command that changes something: it may have happened.",
        "the connection broke before the answer came",
    ),
    "SERVER_MISMATCH": Entry(
        ExitCode.ERROR, "Compare `taskforge version` on both sides.", "the server does not know this call"
    ),
    "CALL_TIMED_OUT": Entry(
        ExitCode.TIMEOUT, "Try again; `taskforge status` shows how busy it is.", "no answer in time"
    ),
    "WAIT_TIMED_OUT": Entry(
        ExitCode.TIMEOUT, "`taskforge run watch RUN` waits on; the run goes on either way.", "the run has not ended yet"
    ),
    "NO_RUNS": Entry(
        ExitCode.NOT_FOUND, "`taskforge run list` shows what there is.", "`@last` or `@failed` fits no run"
    ),
    "STEP_NOT_FOUND": Entry(
        ExitCode.NOT_FOUND, "`taskforge run show RUN` lists the steps.", "the run has no such step"
    ),
    "OUTPUT_MISSING": Entry(
        ExitCode.CONFLICT, "`taskforge run show RUN` says where it stands.", "the run or step has no output (yet)"
    ),
    "TRIGGER_AMBIGUOUS": Entry(
        ExitCode.USAGE, "Name the trigger, too.", "the workflow has several triggers of this kind"
    ),
    "TOPIC_UNKNOWN": Entry(ExitCode.NOT_FOUND, "`taskforge help` lists the topics.", "there is no such help topic"),
    "HTTP_ERROR": Entry(
        ExitCode.ERROR,
        "Read the answer's body. Exit codes follow the status: 4 for 401 and 403, 5 for 404, 6 for 409, 7 for 503.",
        "`taskforge api` got an error status",
    ),
    "INTERRUPTED": Entry(ExitCode.INTERRUPTED, "The command may be run again.", "Ctrl-C"),
    "UNEXPECTED": Entry(
        ExitCode.ERROR, "Run it again with `--debug` and report the traceback.", "a fault of the command line"
    ),
}

SERVER_REASONS: Mapping[str, Entry] = {
    "INTERNAL": Entry(ExitCode.ERROR, "`taskforge logs gateway` holds the incident that the message names."),
    "FIELD_INVALID": Entry(ExitCode.USAGE, "Mend the field that the error names."),
    "PAGE_TOKEN_INVALID": Entry(ExitCode.USAGE, "Start the list again without the token."),
    "TOKEN_INVALID": Entry(ExitCode.FORBIDDEN, "`taskforge config list --origin` shows where the token comes from."),
    "AUTHENTICATION_THROTTLED": Entry(
        ExitCode.FORBIDDEN,
        "Use the right token; `taskforge config list --origin` shows where the wrong one comes from.",
    ),
    "PERMISSION_DENIED": Entry(ExitCode.FORBIDDEN, "Use a token that may do this."),
    "WORKFLOW_INVALID": Entry(ExitCode.INVALID, "`taskforge workflow validate PATH` shows each fault in its place."),
    "WORKFLOW_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "`taskforge workflow list` shows what has been applied."),
    "WORKFLOW_HAS_ACTIVE_RUNS": Entry(ExitCode.CONFLICT, "Wait for them, cancel them, or give `--force`."),
    "INPUTS_INVALID": Entry(ExitCode.USAGE, "`taskforge workflow show NAME` lists the inputs."),
    "RUN_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "`taskforge run list` shows the newest."),
    "RUN_ID_AMBIGUOUS": Entry(ExitCode.USAGE, "Give more characters of the id."),
    "RUN_FINISHED": Entry(ExitCode.CONFLICT, "`taskforge run show RUN` says how it ended."),
    "RUN_NOT_RETRYABLE": Entry(ExitCode.CONFLICT, "Only FAILED and CANCELLED runs can be retried; start a new one."),
    "IDEMPOTENCY_KEY_REUSED": Entry(ExitCode.CONFLICT, "Use a new key, or the workflow and inputs of the first call."),
    "DEAD_LETTER_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "`taskforge dead-letter list` shows the open ones."),
    "DEAD_LETTER_CLOSED": Entry(ExitCode.CONFLICT, "`taskforge dead-letter show ID` says who closed it."),
    "SCHEDULE_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "`taskforge schedule list` shows all."),
    "WEBHOOK_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "`taskforge webhook list` shows all."),
    "SIGNATURE_MISMATCH": Entry(ExitCode.FORBIDDEN, "Sign with the secret that the trigger's `verify` names."),
    "BODY_TOO_LARGE": Entry(ExitCode.USAGE, "Send less."),
    "DELIVERY_UNPROCESSABLE": Entry(ExitCode.USAGE, "`taskforge webhook deliveries WORKFLOW TRIGGER` says why."),
    "SECRET_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "`taskforge secret list` shows the names."),
    "SECRET_IN_USE": Entry(ExitCode.CONFLICT, "`taskforge secret list` shows by what; `--force` deletes it anyway."),
    "STORE_UNAVAILABLE": Entry(ExitCode.UNREACHABLE, "Try again; `taskforge status` shows what is down."),
    "SCHEDULER_UNAVAILABLE": Entry(ExitCode.UNREACHABLE, "Try again; `taskforge status` shows what is down."),
    "QUEUE_FULL": Entry(ExitCode.UNREACHABLE, "Try again later, or run more executors."),
    "REQUEST_INVALID": Entry(ExitCode.USAGE, "Mend the request as the message says."),
    "ROUTE_NOT_FOUND": Entry(ExitCode.NOT_FOUND, "Compare `taskforge version` on both sides."),
    "SERVICE_UNAVAILABLE": Entry(ExitCode.UNREACHABLE, "`taskforge status` shows what is down."),
    "REQUEST_TIMEOUT": Entry(ExitCode.TIMEOUT, "Look whether it took effect before you try again."),
    "LEASE_LOST": Entry(ExitCode.CONFLICT, "Nothing to do: another executor has the step."),
}


def exit_code_of(code: str) -> ExitCode:
    """The exit code of one of our codes, or of a server's reason that we tell ourselves."""
    entry = CLI_CODES.get(code) or SERVER_REASONS[code]
    return entry.exit_code
