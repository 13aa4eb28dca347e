"""Durations and sizes: one way to write each, and no guessing."""

from __future__ import annotations

import pytest

from taskforge.language.units import format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86_400),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        ("PT30S", 30),
        ("PT1H30M", 5400),
        ("P1DT12H", 129_600),
        ("P2W", 1_209_600),
        ("PT0.5S", 0.5),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "30 s", "-5s", "5x", "30m1h", "1m1m", "0s", "400d", "P", "PT", "P1M", "1e3s", "٣s", "9" * 99],
)
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|between"):
        parse_duration(text)


def test_a_number_alone_gets_its_unit_suggested() -> None:
    with pytest.raises(ValueError, match="write it like 30s"):
        parse_duration("30")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (30, "30s"), (90, "90s"), (300, "5m"), (7200, "2h"), (86_400, "1d"), (1.5, "1.5s")],
)
def test_durations_are_written_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("100", 100), ("512KiB", 524_288), ("1MB", 1_000_000), ("1MiB", 1_048_576), ("64 kb", 64_000), ("2k", 2000)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "1TB", "-1", "1 M B", "MiB"])
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)
