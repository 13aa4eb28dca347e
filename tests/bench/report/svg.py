"""A few shapes of SVG, written the same way every time, so that a plot can be compared with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, FAINT, PAPER = "#333333", "#dddddd", "#ffffff"
#: Told apart by everybody, also by those who see fewer colours (Okabe and Ito's).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#f0e442")
_FONT = 12

Point = tuple[float, float]


class Drawing:
    """Shapes on white paper. Coordinates are pixels from the upper left."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
            f'viewBox="0 0 {_n(width)} {_n(height)}" font-family="sans-serif" font-size="{_FONT}">',
            f"<title>{escape(title)}</title>",
        ]
        self.box((0, 0), (width, height), PAPER)

    def line(self, points: Sequence[Point], colour: str = INK, *, width: float = 1, dashed: bool = False) -> None:
        """A line through points."""
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{_n(width)}"{dashes}/>'
        )

    def dot(self, at: Point, colour: str) -> None:
        """A measured point."""
        self._parts.append(f'<circle cx="{_n(at[0])}" cy="{_n(at[1])}" r="3.5" fill="{colour}"/>')

    def box(self, corner: Point, size: Point, colour: str) -> None:
        """A filled rectangle."""
        (x, y), (width, height) = corner, size
        self._parts.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" fill="{colour}"/>')

    def text(self, at: Point, text: str, *, anchor: str = "start", bold: bool = False, colour: str = INK) -> None:
        """A line of text; `anchor` is start, middle or end."""
        style = f'text-anchor="{anchor}" fill="{colour}"' + (' font-weight="bold"' if bold else "")
        self._parts.append(f'<text x="{_n(at[0])}" y="{_n(at[1])}" {style}>{escape(text)}</text>')

    def legend(self, at: Point, entries: Sequence[tuple[str, str]], step: float) -> None:
        """Names and their colours, side by side."""
        x, y = at
        for name, colour in entries:
            self.box((x, y - 10), (12, 12), colour)
            self.text((x + 18, y), name)
            x += step

    def written(self) -> str:
        """The file's text."""
        return "\n".join([*self._parts, "</svg>", ""])


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
