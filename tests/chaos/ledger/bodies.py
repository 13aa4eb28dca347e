"""Bodies that a careless client chokes on."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping

_BLOCK_BYTES = 1024 * 1024
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_DEPTH = 7000

#: By the name that `?do=body&named=…` uses. Each is told to be JSON.
BODIES: Mapping[str, bytes] = {
    "nul": rb'{"text": "a\u0000b"}',
    "nul-key": rb'{"a\u0000b": 1}',
    "raw-nul": b'{"text": "a\0b"}',
    "lone-surrogate": rb'{"text": "\ud800"}',
    "nan": b'{"number": NaN}',
    "infinity": b'{"number": -Infinity}',
    "1e400": b'{"number": 1e400}',
    "many-digits": b'{"number": ' + b"9" * 5000 + b"}",
    "deep": b"[" * _DEPTH + b"]" * _DEPTH,
    "deep-objects": b'{"a":' * _DEPTH + b"1" + b"}" * _DEPTH,
    "list": b"[1, 2, 3]",
    "number": b"7",
    "null": b"null",
    "empty": b"",
    "truncated": b'{"text": "a',
    "repeated-key": b'{"a": 1, "a": 2}',
    "bad-utf8": b'{"text": "\xff\xfe"}',
    "long": b'{"text": "' + b"x" * (2 * 1024 * 1024) + b'"}',
    "byte-order-mark": b'\xef\xbb\xbf{"a": 1}',
}


def gzip_bomb(size: int) -> Iterator[bytes]:
    """A gzip stream of zeros that is `size` bytes when decoded, in whole MiB; a thousandth of that as it is.

    Blocks that do not refer to each other are compressed once and repeated. The checksum at the end is wrong: whoever
    reads it has read too much.
    """
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = compressor.compress(bytes(_BLOCK_BYTES)) + compressor.flush(zlib.Z_FULL_FLUSH)
    yield _GZIP_HEADER
    for _ in range(-(-size // _BLOCK_BYTES)):
        yield block
    yield compressor.flush() + bytes(8)


def encoded(body: bytes, depth: int) -> bytes:
    """A body that was compressed again and again."""
    for _ in range(depth):
        body = gzip.compress(body, mtime=0)
    return body
