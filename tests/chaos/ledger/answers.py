"""How each behaviour is carried out. Where HTTP does not allow it, the bytes go past the server's own writer."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from email.utils import formatdate
from itertools import repeat
from time import time

from aiohttp import web

from tests.chaos.ledger.behaviour import Behaviour, Call, Do
from tests.chaos.ledger.bodies import BODIES, encoded, gzip_bomb

_LOOK_SECONDS = 0.02  #: how often it is looked whether a client is still there
_BOMB_BYTES = 10 * 1024**3
_BLOCK = bytes(64 * 1024)
_RESET = struct.pack("ii", 1, 0)  #: SO_LINGER on, without any time: close() sends RST
_DATE_AHEAD = "in:"

Answer = Callable[[web.Request, Behaviour, Call], Awaitable[web.StreamResponse]]


def reset(request: web.Request) -> web.StreamResponse:
    """Break the connection with RST."""
    if request.transport is not None:
        found: socket.socket = request.transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        request.transport.abort()
    return web.Response()


async def _ok(_: web.Request, __: Behaviour, call: Call) -> web.StreamResponse:
    return web.json_response({"ticket": call.ticket})


async def _status(_: web.Request, behaviour: Behaviour, __: Call) -> web.StreamResponse:
    status = behaviour.status or 503
    return web.json_response({"error": f"scripted {status}"}, status=status, headers=_retry_after(behaviour))


async def _random_5xx(_: web.Request, behaviour: Behaviour, call: Call) -> web.StreamResponse:
    status = call.luck.choice((500, 502, 503, 504))
    return web.json_response({"error": f"scripted {status}"}, status=status, headers=_retry_after(behaviour))


async def _hang(request: web.Request, _: Behaviour, __: Call) -> web.StreamResponse:
    return await _past_http(request, b"", b"", _LOOK_SECONDS)


async def _drip(request: web.Request, behaviour: Behaviour, _: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": behaviour.content_type})
    return await _stream(request, response, repeat(b" "), pause=behaviour.every)


async def _drip_head(request: web.Request, behaviour: Behaviour, _: Call) -> web.StreamResponse:
    return await _past_http(request, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", behaviour.every)


async def _huge(request: web.Request, behaviour: Behaviour, _: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": behaviour.content_type})
    if behaviour.size:
        response.content_length = behaviour.size
    return await _stream(request, response, _blocks(behaviour.size))


async def _gzipbomb(request: web.Request, behaviour: Behaviour, _: Call) -> web.StreamResponse:
    headers = {"Content-Type": behaviour.content_type, "Content-Encoding": "gzip"}
    return await _stream(request, web.StreamResponse(headers=headers), gzip_bomb(behaviour.size or _BOMB_BYTES))


async def _encodings(_: web.Request, behaviour: Behaviour, call: Call) -> web.StreamResponse:
    body = encoded(f'{{"ticket": "{call.ticket}"}}'.encode(), behaviour.depth)
    names = ", ".join(repeat("gzip", behaviour.depth))
    return web.Response(body=body, headers={"Content-Type": behaviour.content_type, "Content-Encoding": names})


async def _headers(request: web.Request, _: Behaviour, __: Call) -> web.StreamResponse:
    return await _past_http(request, b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 500, _LOOK_SECONDS)


async def _continue100(request: web.Request, _: Behaviour, __: Call) -> web.StreamResponse:
    return await _past_http(request, b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500, _LOOK_SECONDS)


async def _rst(request: web.Request, _: Behaviour, __: Call) -> web.StreamResponse:
    return reset(request)


async def _redirect(request: web.Request, behaviour: Behaviour, _: Call) -> web.StreamResponse:
    location = behaviour.location or request.path_qs
    return web.Response(status=behaviour.status or 302, headers={"Location": location, **_retry_after(behaviour)})


async def _body(_: web.Request, behaviour: Behaviour, __: Call) -> web.StreamResponse:
    body = BODIES[behaviour.named] if behaviour.named else behaviour.body
    return web.Response(body=body, status=behaviour.status or 200, headers={"Content-Type": behaviour.content_type})


ANSWERS: Mapping[Do, Answer] = {
    Do.OK: _ok,
    Do.STATUS: _status,
    Do.RANDOM_5XX: _random_5xx,
    Do.HANG: _hang,
    Do.DRIP: _drip,
    Do.DRIP_HEAD: _drip_head,
    Do.HUGE: _huge,
    Do.GZIPBOMB: _gzipbomb,
    Do.ENCODINGS: _encodings,
    Do.HEADERS: _headers,
    Do.CONTINUE100: _continue100,
    Do.RST_BEFORE: _rst,
    Do.RST_AFTER_EFFECT: _rst,
    Do.REDIRECT: _redirect,
    Do.BODY: _body,
}


async def _stream(
    request: web.Request, response: web.StreamResponse, pieces: Iterable[bytes], *, pause: float = 0.0
) -> web.StreamResponse:
    """Send pieces until there are none, or nobody takes them any more."""
    try:
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause)
    except ConnectionError:
        pass  # the client has seen enough
    return response


async def _past_http(request: web.Request, start: bytes, piece: bytes, pause: float) -> web.StreamResponse:
    """Send `start`, then `piece` again and again, until the client leaves."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        transport.write(start)
        while not transport.is_closing():
            if piece and transport.get_write_buffer_size() == 0:
                transport.write(piece)
            await asyncio.sleep(pause)
    return web.Response()


def _blocks(size: int) -> Iterator[bytes]:
    if not size:
        yield from repeat(_BLOCK)
    for start in range(0, size, len(_BLOCK)):
        yield _BLOCK[: size - start]


def _retry_after(behaviour: Behaviour) -> dict[str, str]:
    value = behaviour.retry_after
    if value.startswith(_DATE_AHEAD):
        value = formatdate(time() + float(value.removeprefix(_DATE_AHEAD)), usegmt=True)
    return {"Retry-After": value} if value else {}
