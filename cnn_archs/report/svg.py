"""Pictures as SVG that take their colors from the page: for light, dark and paper.

Text stays text. Colors are written as stand-ins, which `svg` turns into variables of CSS.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cnn_archs.report.runs import CellRecord, Collection

COLORS = 8  # of the page's style: --c0, --c1, ...
INK, GRID = "#010203", "#0a0b0c"
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D")
SIZE = (4.3, 3.1)  # inches of a panel: as wide as a phone
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
    """How a cell is drawn, wherever it is: number of a color, and of a style."""

    color: int
    style: int


class LegendKey(NamedTuple):
    """A line of a legend."""

    look: Look
    label: str


class Panel(NamedTuple):
    """An SVG. says: what is in it, for who cannot see it."""

    svg: str
    says: str
    legend: Sequence[LegendKey]


class Figure(NamedTuple):
    """Panels that are read together."""

    title: str
    caption: str
    panels: Sequence[Panel]

    @property
    def legend(self) -> Sequence[LegendKey]:
        """Of all panels, if it is the same."""
        first = self.panels[0].legend
        return first if all(p.legend == first for p in self.panels) else ()


def cells_by_group(collection: Collection) -> dict[str, list[CellRecord]]:
    """{name: cells}: the sweep's own; what is in none of them comes last, under no name."""
    named = {
        g: [c for c in map(collection.cell, cells) if c] for g, cells in collection.groups.items()
    }
    grouped = {c.name for cells in named.values() for c in cells}
    rest = [c for c in collection.cells if c.name not in grouped]
    return {**named, "": rest} if rest else named


def assign_looks(collection: Collection) -> dict[str, Look]:
    """Of each cell: of a color by its place in its group, of a style by the group."""
    found = {}
    parts = list(cells_by_group(collection).values())
    for i, cells in enumerate(parts):
        last = len(parts) - 1 - i  # the last group, the paper's own idea, is drawn solid
        for j, cell in enumerate(cells):
            style = (last + j // COLORS) % len(STYLES)
            found[cell.name] = Look(j % COLORS, style)
    return found


def look_color(look: Look) -> str:
    return f"#fe{look.color:02x}fd"


def draw_panel(
    draw: Any, says: str, legend: Sequence[LegendKey] = (), size: tuple[float, float] = SIZE
) -> Panel:
    """The Panel that draw(axis) makes."""
    with plt.rc_context(RC):  # type: ignore[arg-type]
        figure, axis = plt.subplots(figsize=size)
        draw(axis)
        written = svg_element(figure)
        plt.close(figure)
    return Panel(written, says, legend)


def svg_element(figure: Any) -> str:
    """A figure as an element of a page, without names that others on the page have too."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(
        r'^<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1, flags=re.S
    )
    text = re.sub(r"<g id=\"[^\"]*\">", "<g>", text)
    text = re.sub(r'font-family: [^;"]*;? ?', "", text)  # the page's own
    text = re.sub(r'font: ([\d.]+px)[^;"]*', r"font-size: \1", text)  # as matplotlib 3.9 has it
    text = re.sub(r"#fe(\w\w)fd", lambda m: f"var(--c{int(m[1], 16)})", text)
    return text.replace(INK, "currentColor").replace(GRID, "var(--grid)")
