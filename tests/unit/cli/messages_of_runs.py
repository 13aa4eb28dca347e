"""Runs as the API sends them, with keyword overrides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from taskforge.v1.run_pb2 import Run, Step, StepError

RUN_ID = "0192f1c2-aaaa-7bbb-8ccc-ddddeeeeffff"
BEGAN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def stamp(seconds: float) -> Timestamp:
    """So long after the run was accepted."""
    found = Timestamp()
    found.FromDatetime(BEGAN + timedelta(seconds=seconds))
    return found


def step(name: str, state: str = "PENDING", *, seconds: tuple[float, float] | None = None, **fields: Any) -> Step:
    """A step; `seconds` are its start and end."""
    output = fields.pop("output", None)
    error = fields.pop("error", None)
    found = Step(id=name, name=f"runs/{RUN_ID}/steps/{name}", state=f"STATE_{state}", **fields)
    found.kind = found.kind or "http"
    if seconds is not None:
        found.start_time.CopyFrom(stamp(seconds[0]))
        found.end_time.CopyFrom(stamp(seconds[1]))
    if output is not None:
        _fill(found.output, output)
    if error is not None:
        found.error.CopyFrom(StepError(kind="status", message=error))
    return found


def run(*steps: Step, state: str = "RUNNING", **fields: Any) -> Run:
    """A run of the workflow `hello`."""
    return Run(
        name=f"runs/{RUN_ID}",
        workflow="workflows/hello",
        revision=1,
        state=f"STATE_{state}",
        steps=steps,
        create_time=stamp(0),
        **fields,
    )


def _fill(value: Any, content: Any) -> None:
    from google.protobuf import json_format

    json_format.ParseDict(content, value)
