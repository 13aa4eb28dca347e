"""`taskforge api`: a raw HTTP call through the edge, with the token of the context."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import typer

from taskforge_cli.codes import ExitCode
from taskforge_cli.commanding import Command, examples
from taskforge_cli.errors import CliError, QuietError, server_error, show
from taskforge_cli.inputs import pairs
from taskforge_cli.output import Output, run_jq
from taskforge_cli.session import Session, read_text

if TYPE_CHECKING:
    from taskforge_cli.context import Server

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SECONDS = 60.0
_CHUNK = 64 * 1024
_SAFE = "/:*?=&%,-._~"
_EXIT_CODES = {
    400: ExitCode.USAGE,
    401: ExitCode.FORBIDDEN,
    403: ExitCode.FORBIDDEN,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    429: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
}


@app.command(
    "api",
    cls=Command,
    epilog=examples(
        "taskforge api GET /v1/runs -f page_size=5 --jq '.runs[].name'",
        "taskforge api POST /v1/workflows/hello:start --input start.json",
        "taskforge api GET /v1/runs/ID:watch        (server-sent events, as they come)",
    ),
)
def api(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help=", ".join(_METHODS) + ".", show_default=False)],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Such as /v1/runs.", show_default=False)],
    fields: Annotated[
        list[str],
        typer.Option("-f", "--field", metavar="NAME=VALUE", help="Query of a GET or DELETE, else a field of the body."),
    ] = [],  # noqa: B006  Typer copies it
    body: Annotated[
        str, typer.Option("--input", metavar="FILE", help="Send this file as the body; - reads stdin.")
    ] = "",
) -> None:
    """Make a raw call to the HTTP API. The answer's body goes to stdout as it is; --jq works on it."""
    session = Session.of(ctx)
    verb = method.upper()
    if verb not in _METHODS:
        raise CliError("USAGE", f"{method} is no method", hints=[f"there are: {', '.join(_METHODS)}"])
    target, content = _request(verb, path, pairs(fields, "-f"), body)
    _call(session, verb, target, content)


def _request(verb: str, path: str, fields: Mapping[str, str], body: str) -> tuple[str, bytes | None]:
    target = quote("/" + path.lstrip("/"), safe=_SAFE)
    in_query = verb in ("GET", "DELETE") or bool(body)
    if fields and in_query:
        target += ("&" if "?" in target else "?") + urlencode(fields)
    if body:
        return target, read_text(body).encode()
    if verb in ("GET", "DELETE"):
        return target, None
    return target, json.dumps({name: _value(text) for name, text in fields.items()}).encode()


def _value(text: str) -> Any:
    """`true`, `null`, objects and lists are JSON; everything else, also a number, is a text: the API reads both."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if found is None or isinstance(found, (bool, dict, list)) else text


def _call(session: Session, verb: str, target: str, content: bytes | None) -> None:
    server = session.server()
    connection = _connect(server)
    headers = {"authorization": f"Bearer {server.token}"} if server.token else {}
    if content is not None:
        headers["content-type"] = "application/json"
    try:
        connection.request(verb, target, body=content, headers=headers)
        answer = connection.getresponse()
        if answer.status >= 400:
            _fail(session, answer.status, answer.read())
        elif session.options.jq:
            _filtered(session.output, session.options.jq, answer.read())
        else:
            _copy(session.output, answer)
    except (OSError, http.client.HTTPException) as error:
        hints = ["start it with: taskforge up"] if server.is_local else []
        raise CliError("SERVER_UNREACHABLE", f"cannot reach {server.described}: {error}", hints=hints) from error
    finally:
        connection.close()


def _connect(server: Server) -> http.client.HTTPConnection:
    if not server.is_secure:
        return http.client.HTTPConnection(server.host, server.port, timeout=_SECONDS)
    import ssl

    return http.client.HTTPSConnection(server.host, server.port, timeout=_SECONDS, context=ssl.create_default_context())


def _copy(output: Output, answer: http.client.HTTPResponse) -> None:
    """Write the body as it comes; JSON is indented on a terminal."""
    if output.is_terminal and (answer.getheader("content-type") or "").startswith("application/json"):
        output.text(json.dumps(json.loads(answer.read() or b"null"), ensure_ascii=False, indent=2) + "\n")
        return
    last = b"\n"
    while chunk := answer.read1(_CHUNK):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        last = chunk
    if not last.endswith(b"\n"):
        output.text("\n")


def _filtered(output: Output, program: str, body: bytes) -> None:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise CliError("JQ_INVALID", "--jq: the answer is no JSON") from error
    for found in run_jq(program, value):
        output.text((found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)) + "\n")


def _fail(session: Session, status: int, body: bytes) -> None:
    """Show the answer's error, and its body on stdout as any other."""
    exit_code = _EXIT_CODES.get(status, ExitCode.ERROR)
    text = body.decode(errors="replace").rstrip()
    if text:
        session.output.text(text + "\n")
    show(_error(status, text, exit_code), as_json=session.options.is_machine)
    raise QuietError(exit_code)


def _error(status: int, text: str, exit_code: ExitCode) -> CliError:
    try:
        document = json.loads(text)
        info = next(detail for detail in document["details"] if "reason" in detail)
        hint = str(info.get("metadata", {}).get("hint", ""))
        return server_error(str(info["reason"]), str(document["message"]), hint=hint)
    except (ValueError, LookupError, TypeError, StopIteration):
        return CliError("HTTP_ERROR", f"the server answered {status}", exit_code=exit_code)
