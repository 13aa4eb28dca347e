"""A request: as it came, for its signature; and as it is kept and shown to expressions, without what is secret."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit

from taskforge.security.masking import MASK
from taskforge.store.deliveries import Content

RawHeaders = tuple[tuple[str, str | bytes], ...]

_ORIGINAL_PATH = "x-envoy-original-path"  # where the edge leaves the URL, with its query string and its key
_MAX_QUERY_CHARS = 16_384
_KNOWN_NAMES = 1_024
# What the transport adds on its way here is not the sender's.
_TRANSPORT = re.compile(r"x-envoy-.*|grpc-.*|:.*|te|content-type|content-length")
_SECRET = re.compile(
    r"(.*[-_])?(auth|authorization|cookie2?|credentials?|jwt|passwd|password|secret|session|token|apikey"
    r"|(api|access|auth|functions|private|secret)[-_]key)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRequest:
    """One request. `raw_headers` are for the signature alone and are never kept."""

    raw_headers: RawHeaders
    content: Content


def read_request(metadata: Iterable[tuple[str, str | bytes]], body: bytes, content_type: str) -> HookRequest:
    """Read a request from a call's metadata and body. Takes anything."""
    pairs = tuple((str(name).lower(), value) for name, value in metadata)
    raw = tuple((name, value) for name, value in pairs if not _is_transport(name))
    headers = _shown(raw)
    if content_type:
        headers["content-type"] = clean_text(content_type)
    content = Content(body=body, content_type=clean_text(content_type), headers=headers, query=_query(pairs))
    return HookRequest(raw_headers=raw, content=content)


def without_header(content: Content, name: str) -> Content:
    """The content without the value of a header that holds a webhook's own secret."""
    if content.headers.get(name, MASK) == MASK:
        return content
    return replace(content, headers={**content.headers, name: MASK})


def clean_text(text: str) -> str:
    """Text that the database and JSON can hold: no NUL, no lone surrogate."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


# Senders use the same few names again and again.
@lru_cache(maxsize=_KNOWN_NAMES)
def _is_transport(name: str) -> bool:
    return _TRANSPORT.fullmatch(name) is not None


@lru_cache(maxsize=_KNOWN_NAMES)
def _is_secret(name: str) -> bool:
    return _SECRET.fullmatch(name) is not None


def _shown(raw: RawHeaders) -> dict[str, str]:
    """By name; several of one name are joined as HTTP joins them."""
    found: dict[str, str] = {}
    for raw_name, value in raw:
        name = clean_text(raw_name)
        text = MASK if _is_secret(name) else _text(name, value)
        found[name] = f"{found[name]}, {text}" if name in found and text != MASK else text
    return found


def _text(name: str, value: str | bytes) -> str:
    if isinstance(value, str):
        return clean_text(value)
    # gRPC decodes base64 in headers whose name says that they are binary.
    return base64.b64encode(value).decode() if name.endswith("-bin") else clean_text(value.decode("utf-8", "replace"))


def _query(pairs: RawHeaders) -> str:
    for name, value in pairs:
        if name == _ORIGINAL_PATH and isinstance(value, str):
            if "?" not in value:
                return ""
            try:
                return clean_text(urlsplit(value).query)[:_MAX_QUERY_CHARS]
            except ValueError:
                return ""
    return ""
