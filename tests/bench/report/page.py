"""Writes the figures of a whole measurement into docs/explanation/performance.md and its plots.

    tests/bench/run page FILE      FILE is what `tests/bench/run --json FILE` wrote

The words of the page are written by people; every figure between its markers comes from the JSON, which is kept beside
the plots. A test compares them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.report.plots import plots
from tests.bench.report.tables import tables
from tests.support.places import ROOT

PAGE = ROOT / "docs" / "explanation" / "performance.md"
FOLDER = PAGE.with_suffix("")
FIGURES = FOLDER / "figures.json"
_PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled_in(page: str, report: Mapping[str, Any]) -> str:
    """The page with these figures.

    Raises:
        ValueError: the page has not exactly one place for each table.
    """
    written = tables(report)
    places = [found[2] for found in _PLACE.finditer(page)]
    if sorted(places) != sorted(written):
        raise ValueError(f"the page has places for {sorted(places)}; there are tables for {sorted(written)}")
    return _PLACE.sub(lambda found: f"{found[1]}\n{written[found[2]]}\n\n{found[3]}", page)


def write(report: Mapping[str, Any]) -> None:
    """Write the page, the plots and the figures."""
    PAGE.write_text(filled_in(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    for name, text in plots(report).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    FIGURES.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Read a report and write the page."""
    if len(arguments) != 1:
        sys.exit("usage: tests/bench/run page FILE")
    write(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
