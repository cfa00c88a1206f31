"""Figures as SVG elements that take their colors from the page, in light, dark and print.

Text remains text, not paths. matplotlib draws with placeholder colors, which `svg_element` replaces
by CSS variables.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import figure as canvas
from matplotlib import style

from cnn_archs.report.runs import CellRecord, Collection

COLORS = 8  # CSS variables of the page: --c0, --c1, ...
INK, GRID = "#010203", "#0a0b0c"
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D")
SIZE = (4.3, 3.1)  # inches of a panel, as wide as a phone
RC: dict[str, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **{"grid.color": GRID, "grid.linewidth": 0.6, "axes.grid": True, "axes.axisbelow": True},
    **{"svg.fonttype": "none", "svg.hashsalt": "cnn_archs", "font.size": 9.5},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7},
    **{"axes.titlesize": 10.5, "figure.constrained_layout.use": True, "text.parse_math": False},
    **{"savefig.transparent": True, "lines.solid_capstyle": "round"},
}


class Look(NamedTuple):
    """The color and the line style of a cell in every figure, each as a number."""

    color: int
    style: int


class LegendKey(NamedTuple):
    """One entry of a legend."""

    look: Look
    label: str


class Panel(NamedTuple):
    """One SVG element. says: a description for readers who cannot see it."""

    svg: str
    says: str
    legend: Sequence[LegendKey]


class Figure(NamedTuple):
    """Panels that are read together, with a title and a caption."""

    title: str
    caption: str
    panels: Sequence[Panel]

    @property
    def legend(self) -> Sequence[LegendKey]:
        """The legend that all panels share; () if they differ."""
        first = self.panels[0].legend
        return first if all(p.legend == first for p in self.panels) else ()


def cells_by_group(collection: Collection) -> dict[str, list[CellRecord]]:
    """Return {group: cells} in the sweep's order; cells in no group come last, under ""."""
    named = {
        g: [c for c in map(collection.cell, cells) if c] for g, cells in collection.groups.items()
    }
    grouped = {c.name for cells in named.values() for c in cells}
    rest = [c for c in collection.cells if c.name not in grouped]
    return {**named, "": rest} if rest else named


def assign_looks(collection: Collection) -> dict[str, Look]:
    """Assign each cell a color by its position in its group, and a line style by the group."""
    found = {}
    parts = list(cells_by_group(collection).values())
    for i, cells in enumerate(parts):
        last = len(parts) - 1 - i  # the last group, the paper's own idea, is drawn solid
        for j, cell in enumerate(cells):
            style = (last + j // COLORS) % len(STYLES)
            found[cell.name] = Look(j % COLORS, style)
    return found


def look_color(look: Look) -> str:
    """Return the placeholder color of a look."""
    return f"#fe{look.color:02x}fd"


def draw_panel(
    draw: Any, says: str, legend: Sequence[LegendKey] = (), size: tuple[float, float] = SIZE
) -> Panel:
    """Call draw(axis) on a new figure and return it as a Panel. size: (width, height) in inches."""
    # Not in the style of a file matplotlibrc, nor in that of the program that calls this.
    with style.context(RC, after_reset=True):
        figure = canvas.Figure(figsize=size)
        draw(figure.subplots())
        written = svg_element(figure)
    return Panel(written, says, legend)


def svg_element(figure: Any) -> str:
    """Return a figure as an SVG element without ids, so that several fit on one page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(
        r'^<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1, flags=re.S
    )
    text = re.sub(r"<g id=\"[^\"]*\">", "<g>", text)
    text = re.sub(r'font-family: [^;"]*;? ?', "", text)  # the page sets the font
    text = re.sub(
        r'font: ([\d.]+px)[^;"]*', r"font-size: \1", text
    )  # matplotlib 3.9 writes the shorthand
    text = re.sub(r"#fe(\w\w)fd", lambda m: f"var(--c{int(m[1], 16)})", text)
    return text.replace(INK, "currentColor").replace(GRID, "var(--grid)")
