"""The page on performance says what the benchmark has written, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench.report.page import FIGURES, FOLDER, PAGE, filled_in
from tests.bench.report.plots import plots


@pytest.fixture(scope="module")
def report() -> Any:
    return json.loads(FIGURES.read_text(encoding="utf-8"))


def test_its_tables_are_what_the_figures_say(report: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == filled_in(page, report)


def test_its_plots_are_what_the_figures_say(report: Any) -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}

    assert written == plots(report)


def test_it_shows_every_plot() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert [path.name for path in FOLDER.glob("*.svg") if f"({FOLDER.name}/{path.name})" not in page] == []


def test_a_table_without_a_place_is_noticed(report: Any) -> None:
    page = PAGE.read_text(encoding="utf-8").replace("<!-- figures: scale -->", "")

    with pytest.raises(ValueError, match="the page has places for"):
        filled_in(page, report)
