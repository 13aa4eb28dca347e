"""The hint stream as both sides see it: names, payloads, counters."""

from __future__ import annotations

import random
from uuid import UUID

from google.protobuf.message import DecodeError
from prometheus_client import Counter

from taskforge.internal.v1.hint_pb2 import Hint

HINT_STREAM = "taskforge:hints"
EXECUTORS = "executors"  #: the consumer group; each hint reaches one of its readers
#: All executors read by one name. Nothing is ever pending, so a name of one's own would only be left behind.
READER = "executor"
PAYLOAD = b"h"  #: an entry's one field
VERSION = 1

#: A QUEUED step: its run and its index.
StepKey = tuple[UUID, int]

PUBLISHED = Counter("taskforge_hints_published", "Hints written to the stream.")
DROPPED = Counter("taskforge_hints_dropped", "Hints that were not written, by reason.", ["reason"])
READ = Counter("taskforge_hints_read", "Hints read from the stream.")
MALFORMED = Counter("taskforge_hints_malformed", "Stream entries that are no hints.")

_MAX_STEP = 1 << 20  # far beyond any definition; keeps forged indexes within what the database takes


def encode_hint(run_id: UUID, step: int) -> bytes:
    """The payload of one hint."""
    return Hint(version=VERSION, run_id=run_id.bytes, step=step).SerializeToString()


def decode_hint(payload: bytes | None) -> StepKey | None:
    """The step that a payload names; None if it is garbage or of a version that we do not know."""
    if payload is None:
        return None
    try:
        hint = Hint.FromString(payload)
    except DecodeError:
        return None
    if hint.version != VERSION or len(hint.run_id) != 16 or not 0 <= hint.step < _MAX_STEP:
        return None
    return UUID(bytes=hint.run_id), hint.step


def backoff_seconds(failures: int, longest: float) -> float:
    """How long to leave Redis alone after so many failures in a row: doubling, jittered, bounded."""
    delay: float = min(longest, 0.05 * 2.0 ** min(failures, 16))
    return delay * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads load, hides nothing
