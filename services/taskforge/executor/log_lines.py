"""The log lines of one attempt, numbered and masked as they are written."""

from __future__ import annotations

import time
from typing import NamedTuple

from taskforge.domain.workflow import JsonValue
from taskforge.executor.messages import seal_data, seal_text
from taskforge.internal.v1 import scheduler_service_pb2 as pb
from taskforge.security.masking import Masker


class Numbers(NamedTuple):
    """Which attempt of a step it is."""

    attempt: int
    epoch: int
    token: int


class LogLines:
    """Collects lines. The scheduler keeps each number of an attempt once: what is sent again is not said twice."""

    def __init__(self, run_id: bytes, step: int, numbers: Numbers, masker: Masker) -> None:
        self.lines: list[pb.LogLine] = []
        self._run_id = run_id
        self._step = step
        self.numbers = numbers
        self.masker = masker

    def __call__(self, level: str, message: str, data: JsonValue) -> None:
        """Keep one line."""
        line = pb.LogLine(
            run_id=self._run_id,
            step=self._step,
            epoch=self.numbers.epoch,
            attempt=self.numbers.attempt,
            number=len(self.lines) + 1,
            level=level,
            message=seal_text(message, self.masker),
            data_json="" if data is None else seal_data(data, self.masker),
            time_us=time.time_ns() // 1000,
        )
        self.lines.append(line)
