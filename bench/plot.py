"""The plot: each figure as a bar against its goal, which is one line for all of them. An SVG, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.figures import Figure

WIDTH, LEFT, LINE, TOP = 1040, 430, 44, 64
#: Where the goal's line stands, and how far a bar may reach beyond it.
GOAL, REACH = 300.0, 1.9
MET, MISSED = "#2e7d32", "#c62828"


def draw(figures: Sequence[Figure], title: str) -> str:
    """Returns the SVG. Longer is better everywhere: a figure that has to stay small is drawn upside down."""
    height = TOP + LINE * len(figures) + 34
    body = "\n".join(_bar(figure, TOP + LINE * number) for number, figure in enumerate(figures))
    line = LEFT + GOAL
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="white"/>
<text x="16" y="26" font-size="17" font-weight="bold">{escape(title)}</text>
{body}
<line x1="{line}" x2="{line}" y1="{TOP - 12}" y2="{height - 30}" stroke="black" stroke-width="2"/>
<text x="{line}" y="{TOP - 18}" text-anchor="middle">goal</text>
<text x="16" y="{height - 12}" fill="#555">Bars reach the line where the goal is met; thin lines show the range of \
the rounds.</text>
</svg>
"""


def _bar(figure: Figure, y: int) -> str:
    colour = MET if figure.met else MISSED
    share, *ends = (_x(figure, value) for value in (figure.spread.median, figure.spread.low, figure.spread.high))
    middle = y + 12
    said = f"{figure.spread.median:,.2f} {figure.goal.unit}, goal {figure.goal}: {figure.verdict}"
    return f"""\
<text x="16" y="{y + 8}" font-weight="bold">{figure.row}</text>
<text x="60" y="{y + 8}">{escape(figure.what[:58])}</text>
<text x="60" y="{y + 25}" fill="{colour}">{escape(said)}</text>
<rect x="{LEFT}" y="{y}" width="{share - LEFT:.1f}" height="24" fill="{colour}" opacity="0.85"/>
<line x1="{min(ends):.1f}" x2="{max(ends):.1f}" y1="{middle}" y2="{middle}" stroke="black"/>"""


def _x(figure: Figure, value: float) -> float:
    return LEFT + GOAL * min(figure.goal.share(value), REACH)
