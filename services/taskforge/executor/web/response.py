"""Reading answers: bounded, decoded here and nowhere else, and turned into JSON that can be stored."""

from __future__ import annotations

import base64
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import NoReturn, Protocol

from taskforge.domain.outcome import ErrorKind
from taskforge.domain.workflow import JsonValue
from taskforge.executor.faults import StepFault, fault
from taskforge.executor.web.client import Answer

SHOWN_BYTES = 2048  #: of an unexpected answer's body

_IDENTITY = ("", "identity")
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_MAX_MEMBERS = 256  # of a gzip body; who writes a megabyte in blocks of 64 KiB needs 16
_STEP = 64 * 1024  # what is decompressed at a time
_LATIN = ("latin-1", "latin1", "iso-8859-1", "iso8859-1", "l1")


def read_headers(answer: Answer) -> dict[str, str]:
    """The headers by lower-case name. Repeated ones are joined, cookies by line breaks and others by commas."""
    found: dict[str, str] = {}
    for name, value in answer.headers.items():
        name = name.lower()
        if not value.isascii():
            value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if name in found:
            value = f"{found[name]}{chr(10) if name == 'set-cookie' else ', '}{value}"
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_json = json.JSONDecoder(parse_constant=_refuse_constant)  # `json.loads` would make one a call


async def read_body(answer: Answer, encoding: str, limit: int) -> bytes:
    """The whole decoded body. Raises StepFault if it is larger than `limit` bytes or cannot be decoded."""
    decoder = _decoder(encoding)
    pieces: list[bytes] = []
    size = 0
    while not answer.content.at_eof():
        piece = decoder.decode(await answer.content.readany(), limit - size + 1)
        size += len(piece)
        if size > limit:
            answer.close()  # the rest is not wanted, so the connection is of no use any more
            raise fault(ErrorKind.OUTPUT, f"the answer's body is larger than max_body ({limit} bytes)")
        pieces.append(piece)
    decoder.end()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_start(answer: Answer, encoding: str) -> str:
    """The start of an unexpected answer's body, as text to show. Never fails for what the body holds."""
    try:
        decoder = _decoder(encoding)
        start = b""
        while len(start) <= SHOWN_BYTES and (chunk := await answer.content.readany()):
            start += decoder.decode(chunk, SHOWN_BYTES + 1 - len(start))
    except StepFault:
        start = b""
    if not answer.content.at_eof():
        answer.close()
    text = start[:SHOWN_BYTES].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text + "…" if len(start) > SHOWN_BYTES else text


def parse_body(body: bytes, content_type: str) -> JsonValue:
    """The body as a value: JSON if the content type says so, else text, else `{"base64": …}`.

    Raises StepFault when the content type promises JSON and the body breaks the promise: what reads the output next
    would fail in a way that is harder to understand.
    """
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return _parse_json(body, media_type) if body.strip() else None
    text = _as_text(body, parameters)
    return text if text is not None else {"base64": base64.b64encode(body).decode()}


def _parse_json(body: bytes, media_type: str) -> JsonValue:
    try:
        return _json.decode(body.removeprefix(BOM_UTF8).decode())
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise fault(
            ErrorKind.OUTPUT, f"the answer says it is {media_type}, but its body is not JSON: {reason}"
        ) from error


def _as_text(body: bytes, parameters: str) -> str | None:
    """The body as text that can be stored; None if it is binary."""
    if b"\0" in body:
        return None
    charset = _charset(parameters)
    try:
        return body.decode("latin-1" if charset in _LATIN else "utf-8")
    except UnicodeDecodeError:
        return None


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


class _Decoder(Protocol):
    """Turns a body's bytes into content, never more of it than asked for."""

    def decode(self, chunk: bytes, at_most: int) -> bytes: ...

    def end(self) -> None: ...


class _Plain:
    def decode(self, chunk: bytes, at_most: int) -> bytes:
        return chunk

    def end(self) -> None:
        pass


class _Inflate:
    """gzip and deflate. The output is asked for in steps, so that a bomb costs no more than the limit."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._started = False
        self._members = 1

    def decode(self, chunk: bytes, at_most: int) -> bytes:
        pieces = []
        while chunk and at_most > 0:
            if self._stream.eof:  # gzip bodies may have several members
                self._members += 1
                if self._members > _MAX_MEMBERS:  # empty ones would cost time for ever and never reach a limit
                    raise fault(ErrorKind.OUTPUT, f"the answer's compressed body has more than {_MAX_MEMBERS} parts")
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            piece = self._inflate(chunk, min(at_most, _STEP))
            at_most -= len(piece)
            pieces.append(piece)
            chunk = self._stream.unconsumed_tail or self._stream.unused_data
        return b"".join(pieces)

    def end(self) -> None:
        if self._started and not self._stream.eof:
            raise fault(ErrorKind.OUTPUT, "the answer's compressed body is cut short")

    def _inflate(self, chunk: bytes, at_most: int) -> bytes:
        first, self._started = not self._started, True
        try:
            return self._stream.decompress(chunk, at_most)
        except zlib.error as error:
            if first:  # some servers mean raw deflate when they say deflate
                self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
                try:
                    return self._stream.decompress(chunk, at_most)
                except zlib.error:
                    pass
            raise fault(ErrorKind.OUTPUT, f"the answer's compressed body is damaged: {error}") from error


def _decoder(encoding: str) -> _Decoder:
    encoding = encoding.strip().lower()
    if encoding in _IDENTITY:
        return _Plain()
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _Inflate()
    raise fault(
        ErrorKind.OUTPUT, f"the answer's content-encoding {encoding[:60]!r} is not supported: gzip and deflate are"
    )


def content_encoding(headers: Mapping[str, str]) -> str:
    """The encoding that the body is in; several of them are one that nobody supports."""
    return headers.get("content-encoding", "")
