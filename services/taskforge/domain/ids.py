"""Identifiers: UUIDv7, so that keys sort by time and history can be partitioned by them."""

from __future__ import annotations

from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7(unix_milliseconds: int, randomness: int) -> UUID:
    """Build a UUIDv7 (RFC 9562) from a time in milliseconds and at least 74 random bits."""
    high = (randomness >> 62) & 0xFFF
    low = randomness & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(unix_milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _VERSION_7 | high << 64 | _VARIANT | low)


def first_uuid7_at(unix_milliseconds: int) -> UUID:
    """The smallest UUID of that millisecond: a partition bound."""
    return UUID(int=(unix_milliseconds & 0xFFFF_FFFF_FFFF) << 80)
