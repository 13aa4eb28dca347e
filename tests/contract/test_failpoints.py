"""Every failpoint is somewhere in the services, and the page on them says where."""

from __future__ import annotations

import re

from taskforge.failpoints import Point
from tests.support.places import ROOT

_SERVICES = ROOT / "services" / "taskforge"
_PAGE = ROOT / "docs" / "contributing.md"
_ROW = re.compile(r"^\| (K\d+) \| `([a-z-]+)` \|", re.MULTILINE)
_NUMBER = re.compile(r'= "([a-z-]+)"  #: (K\d+):')


def reached() -> set[str]:
    sources = [path for path in _SERVICES.rglob("*.py") if path.parent.name != "failpoints"]
    return {name for path in sources for name in re.findall(r"reach\(Point\.(\w+)", path.read_text(encoding="utf-8"))}


def test_every_point_is_reached_somewhere() -> None:
    assert reached() == set(Point.__members__)


def test_the_page_lists_every_point_under_its_number() -> None:
    rows = {point: number for number, point in _ROW.findall(_PAGE.read_text(encoding="utf-8"))}
    source = (_SERVICES / "failpoints" / "points.py").read_text(encoding="utf-8")
    assert rows == dict(_NUMBER.findall(source))
    assert set(rows) == {point.value for point in Point}
    assert sorted(rows.values(), key=lambda number: int(number[1:])) == [f"K{number}" for number in range(1, 17)]
