"""The wire format between the pool and a worker: two lengths, a JSON header, a JSON body.

The body stays text on its way: the worker hands it to jq as it came, and never builds Python objects from an input.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct(">II")
PREFIX_BYTES = _LENGTHS.size
MAX_FRAME_BYTES = 64 * 1024 * 1024  #: far above every limit: whoever announces more is broken


class FrameError(Exception):
    """The other side does not speak this format."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: small typed fields, and one JSON text."""

    header: dict[str, Any]
    body: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one message."""
    header = json.dumps(frame.header, ensure_ascii=True).encode()
    return b"".join((_LENGTHS.pack(len(header), len(frame.body)), header, frame.body))


def frame_length(prefix: bytes | bytearray) -> int:
    """How many bytes follow the prefix."""
    length: int = sum(_LENGTHS.unpack_from(prefix))
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes")
    return length


def decode_frame(data: bytes | bytearray) -> Frame:
    """Parse one whole message, prefix included."""
    header_length, body_length = _LENGTHS.unpack_from(data)
    start = PREFIX_BYTES + header_length
    try:
        header = json.loads(data[PREFIX_BYTES:start])
    except (ValueError, RecursionError) as error:
        raise FrameError("the header is not JSON") from error
    if not isinstance(header, dict):
        raise FrameError("the header is not an object")
    return Frame(header=header, body=bytes(data[start : start + body_length]))
