"""Connections that a server cannot flood.

aiohttp parses all that has arrived before anybody else gets a turn. A quarter of a megabyte of `100 Continue`, or of
chunks with one byte each, is tens of thousands of messages or pieces: a few such servers would hold up every other step
here, and the heartbeat of their leases, for as long as they like.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

MAX_HEADS = 32  #: of one answer: interim ones (100, 102, 103) and the last

_SLICE_BYTES = 4 * 1024  # after which heads are counted
_TURN_BYTES = 16 * 1024  # after which others get their turn


class Reader(ResponseHandler):
    """Parses what arrives a little at a time, and gives up when there are too many heads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._heads = 0
        self._rest = b""  #: arrived and not parsed; nothing more is read meanwhile

    @property
    def should_close(self) -> bool:
        """Whether the connection is of no use for another request: what is left must not become its answer."""
        return bool(self._rest) or super().should_close

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be answered."""
        self._heads = 0
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A head has been parsed."""
        self._heads += 1
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Something has arrived, or, without data, a paused parser is to go on."""
        if not data:
            super().data_received(data)
        elif self._rest:
            self._rest += data
        else:
            self._parse(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing more will arrive."""
        rest, self._rest = self._rest, b""
        if rest and self.transport is not None:
            super().data_received(rest)
        super().connection_lost(exc)

    def _parse(self, data: bytes) -> None:
        for start in range(0, min(len(data), _TURN_BYTES), _SLICE_BYTES):
            super().data_received(data[start : min(start + _SLICE_BYTES, _TURN_BYTES)])
            if self._heads > MAX_HEADS:
                self._give_up()
            if self.transport is None or self.exception() is not None:
                return  # nobody wants the rest
        self._rest = data[_TURN_BYTES:]
        if self._rest:
            self._pause_reading_for_buffer()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        rest, self._rest = self._rest, b""
        if self.transport is None or not rest:
            return
        self._parse(rest)
        if not self._rest:
            self._resume_reading_for_buffer()

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(HttpProcessingError(code=400, message=f"more than {MAX_HEADS} heads came for one answer"))


class Connector(aiohttp.TCPConnector):
    """Makes such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # There is no public way to say so.
        self._factory = cast("functools.partial[ResponseHandler]", functools.partial(Reader, loop=self._loop))
