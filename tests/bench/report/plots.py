"""The page's plots, from the figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.measurements.latency import LOADS
from tests.bench.report.svg import COLOURS, FAINT, INK, Drawing
from tests.bench.report.tables import by_role, number
from tests.bench.workloads import WORKLOADS

_WIDTH, _LEFT, _RIGHT = 760.0, 70.0, 740.0
_FULL = 660.0  #: where 100 % lies
_OVERLOAD, _FAR = 300, 705.0  #: too much lies beyond the scale, at a place of its own

Spread = Mapping[str, float]


def plots(report: Mapping[str, Any]) -> dict[str, str]:
    """Every plot, by file name."""
    return {"load.svg": load_plot(report), "processes.svg": processes_plot(report)}


class _Panel:
    """One pair of axes. `x` is per cent of the maximum."""

    def __init__(self, drawing: Drawing, top: float, bottom: float, low: float, high: float, *, log: bool) -> None:
        self._drawing = drawing
        self._top, self._bottom = top, bottom
        self._scale = math.log10 if log else float
        self._low, self._high = self._scale(low), self._scale(high)

    def x(self, percent: float) -> float:
        """Where a load lies."""
        return _FAR if percent > 100 else _LEFT + percent / 100 * (_FULL - _LEFT)

    def y(self, value: float) -> float:
        """Where a value lies."""
        part = (self._scale(value) - self._low) / (self._high - self._low)
        return self._bottom - part * (self._bottom - self._top)

    def axes(self, title: str, ticks: Sequence[float]) -> None:
        """Lines for the ticks, and what the values are."""
        self._drawing.text((_LEFT, self._top - 12), title, bold=True)
        for tick in ticks:
            self._drawing.line([(_LEFT, self.y(tick)), (_RIGHT, self.y(tick))], FAINT)
            self._drawing.text((_LEFT - 8, self.y(tick) + 4), number(tick), anchor="end")
        for percent in (*LOADS, _OVERLOAD):
            self._drawing.text((self.x(percent), self._bottom + 18), f"{percent} %", anchor="middle")
        self._drawing.line([(_LEFT, self._bottom), (_RIGHT, self._bottom)])
        self._drawing.line([(_FULL, self._top), (_FULL, self._bottom)], FAINT, dashed=True)

    def series(self, spreads: Mapping[int, Spread], colour: str) -> None:
        """Medians, with a bar from the least to the greatest."""
        line = [(self.x(at), self.y(spread["median"])) for at, spread in spreads.items() if at <= 100]
        self._drawing.line(line, colour, width=2)
        for at, spread in spreads.items():
            self._drawing.line([(self.x(at), self.y(spread["min"])), (self.x(at), self.y(spread["max"]))], colour)
            self._drawing.dot((self.x(at), self.y(spread["median"])), colour)


def load_plot(report: Mapping[str, Any]) -> str:
    """Finished runs and latency against the load that is offered."""
    loads, overload = report["latency"]["load"], report["overload"]
    points = {percent: loads[str(percent)] for percent in LOADS} | {_OVERLOAD: overload}
    drawing = Drawing(_WIDTH, 620, "Finished runs and latency against offered load")
    _throughput_panel(drawing, {at: point["runs_per_s"] for at, point in points.items()}, report)
    _latency_panel(drawing, points)
    x = "offered load, in per cent of the chain runs a second that the system can finish"
    drawing.text(((_LEFT + _RIGHT) / 2, 608), x, anchor="middle")
    return drawing.written()


def _throughput_panel(drawing: Drawing, runs: Mapping[int, Spread], report: Mapping[str, Any]) -> None:
    maximum = report["latency"]["maximum_runs_per_s"]
    ticks = steps(max(maximum, *(spread["max"] for spread in runs.values())))
    panel = _Panel(drawing, 40, 240, 0, ticks[-1], log=False)
    panel.axes("finished chain runs a second", ticks)
    drawing.line([(panel.x(0), panel.y(0)), (panel.x(100), panel.y(maximum))], INK, dashed=True)
    panel.series(runs, COLOURS[0])
    drawing.legend((_LEFT + 300, 28), [("finished", COLOURS[0]), ("offered (dashed)", INK)], 110)


def _latency_panel(drawing: Drawing, points: Mapping[int, Mapping[str, Any]]) -> None:
    lines = (
        ("trigger to done, p99", "done_ms", "p99", COLOURS[1]),
        ("trigger to done, p50", "done_ms", "p50", COLOURS[0]),
        ("trigger to answer, p50", "ack_ms", "p50", COLOURS[2]),
    )
    values = [point[what][part] for point in points.values() for _, what, part, _ in lines]
    ticks = decades(min(value["min"] for value in values), max(value["max"] for value in values))
    panel = _Panel(drawing, 325, 570, ticks[0], ticks[-1], log=True)
    panel.axes("latency in ms", ticks)
    for _, what, part, colour in lines:
        panel.series({at: point[what][part] for at, point in points.items()}, colour)
    drawing.legend((_LEFT + 130, 313), [(name, colour) for name, _, _, colour in lines], 180)


def processes_plot(report: Mapping[str, Any]) -> str:
    """Processor time of a run, by process."""
    costs = {name: by_role(report[name]["cpu_ms_per_run_by_process"]) for name in WORKLOADS}
    roles = list(dict.fromkeys(role for cost in costs.values() for role in cost))
    ticks = steps(max(sum(cost.values()) for cost in costs.values()))
    drawing = Drawing(_WIDTH, 90 + 50 * len(costs), "Processor time of a run, by process")
    drawing.text((_LEFT, 24), "CPU-ms a run", bold=True)
    drawing.legend((_LEFT, 46), list(zip(roles, COLOURS, strict=False)), (_RIGHT - _LEFT) / len(roles))
    scale = (_RIGHT - _LEFT) / ticks[-1]
    bottom = 62 + 50 * len(costs)
    for tick in ticks:
        x = _LEFT + tick * scale
        drawing.line([(x, 60), (x, bottom)], FAINT)
        drawing.text((x, bottom + 16), number(tick), anchor="middle")
    for row, (name, cost) in enumerate(costs.items()):
        x, y = _LEFT, 68.0 + 50 * row
        drawing.text((_LEFT - 10, y + 24), name, anchor="end", bold=True)
        for role, colour in zip(roles, COLOURS, strict=False):
            width = cost.get(role, 0.0) * scale
            drawing.box((x, y), (width, 38), colour)
            x += width
    return drawing.written()


def steps(highest: float) -> list[float]:
    """Round ticks from 0 to beyond the highest value, four to eight of them."""
    size = 10.0 ** math.floor(math.log10(highest))
    step = next(part * size for part in (0.2, 0.25, 0.5, 1.0, 2.0) if highest / (part * size) <= 7)
    return [step * count for count in range(math.ceil(highest / step) + 1)]


def decades(lowest: float, highest: float) -> list[float]:
    """Ticks of a logarithmic scale that reaches beyond both: 1, 3, 10, 30 …"""
    wanted = [base * 10.0**power for power in range(-3, 7) for base in (1, 3)]
    first = max(tick for tick in wanted if tick <= lowest)
    last = min(tick for tick in wanted if tick >= highest)
    return [tick for tick in wanted if first <= tick <= last]
