"""Figures as SVG elements that take their colors from the page, in light, dark and print.

Text remains text, not paths. matplotlib draws with placeholder colors, which `svg_element` replaces
by CSS variables. Each curve is also kept as numbers, with which the page's script shows values and
zooms.
"""

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import figure as canvas
from matplotlib import style
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cnn_archs.report.runs import CellRecord, Collection

COLORS = 8  # CSS variables of the page: --c0, --c1, ...
INK_COLOR = COLORS  # that of text, --c8, for entries of legends that are of no cell
UNLIKE = 4  # times as long, or as high, are curves that do not fit on the same linear axes
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
    """One entry of a legend: of the curves of a name or, with `is_kind`, of a kind.

    See `plot_curve` for both.
    """

    look: Look
    label: str
    is_kind: bool = False


class Panel(NamedTuple):
    """One SVG element.

    says: a description for readers who cannot see it. chart: its axes and curves as JSON; see
    `describe_chart`.
    """

    svg: str
    says: str
    legend: Sequence[LegendKey]
    chart: str


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
        axis = figure.subplots()
        draw(axis)
        curves = [line for line in axis.get_lines() if line.get_gid()]
        named = [line.get_gid() or "" for line in curves]
        for i, line in enumerate(curves):
            line.set_gid(f"curve{i}")
        written = svg_element(figure)
        chart = describe_chart(axis, dict(zip(named, curves, strict=True)))
    return Panel(written, says, legend, json.dumps(chart, separators=(",", ":")))


def plot_curve(
    axis: Any, name: str, kind: str, xs: Sequence[float], ys: Sequence[float], **style: Any
) -> None:
    """Draw a curve that the page can switch off, zoom, and show the values of.

    name: its label in the legend. kind: `test`, `train` or another word for its values; values of
    kinds that begin with `seed` or `bars` are not shown. A curve of one point gets a marker.
    """
    if len(xs) == 1:
        style.setdefault("marker", "o")
        style.setdefault("markersize", 3.5)
    number = sum(bool(line.get_gid()) for line in axis.get_lines())
    (line,) = axis.plot(xs, ys, **style)
    line.set_gid(f"{number}:{kind}:{name}")


def plot_bars(
    axis: Any,
    name: str,
    xs: Sequence[float],
    means: Sequence[float],
    sds: Sequence[float],
    **style: Any,
) -> None:
    """Draw error bars from mean - sd to mean + sd, as one line with gaps."""
    ends = [end for m, sd in zip(means, sds, strict=True) for end in (m - sd, m + sd, math.nan)]
    at = [x for x in xs for _ in range(3)]
    if any(sds):
        plot_curve(axis, name, "bars", at, ends, **style)


def make_logarithmic(axis: Any, which: str) -> None:
    """Give the `x` or `y` axis of a panel, which is drawn, a logarithmic scale with plain ticks.

    A value of 0 lies below the lower edge.
    """
    axis.set(**{f"{which}scale": "log"})
    low, high = axis.get_xlim() if which == "x" else axis.get_ylim()
    part = axis.xaxis if which == "x" else axis.yaxis
    steps = LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,))
    part.set_major_locator(MaxNLocator(5) if high < 4 * low else steps)
    part.set_major_formatter(FuncFormatter(engineering))
    part.set_minor_formatter(NullFormatter())


def fit_errors(axis: Any, errors: Sequence[float]) -> None:
    """Make the y axis of a panel logarithmic if its errors are UNLIKE times apart."""
    if max(errors) > UNLIKE * min(errors) > 0:
        make_logarithmic(axis, "y")


def engineering(value: float, _: Any) -> str:
    """Format a tick: `40M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def describe_chart(axis: Any, curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes and the curves of a panel that has been drawn, for the page's script.

    box: left, top, width and height of the axes in the SVG's units. x, y: label, lower and upper
    limit, and whether the scale is logarithmic. curves: name, kind, xs and ys of each, in the order
    of the SVG; None is a gap.
    """
    place, (width, height) = axis.get_position(), axis.figure.get_size_inches() * 72
    box = (place.x0 * width, (1 - place.y1) * height, place.width * width, place.height * height)
    return {
        "box": list(map(rounded, box)),
        "x": [axis.get_xlabel(), *map(rounded, axis.get_xlim()), axis.get_xscale() == "log"],
        "y": [axis.get_ylabel(), *map(rounded, axis.get_ylim()), axis.get_yscale() == "log"],
        "curves": [
            [*reversed(gid.split(":", 2)[1:]), *(list(map(rounded, v)) for v in line.get_data())]
            for gid, line in curves.items()
        ],
    }


def rounded(value: float) -> float | None:
    """Round to six digits, for JSON; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


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
    text = re.sub(r'<g id="curve(\d+)">', r'<g data-curve="\1">', text)
    text = re.sub(r'<g id="[xy]tick_\d+">', "<g data-tick>", text)
    text = re.sub(r'<g id="note">', "<g data-note>", text)
    text = re.sub(r"<g id=\"[^\"]*\">", "<g>", text)
    text = re.sub(r'font-family: [^;"]*;? ?', "", text)  # the page sets the font
    text = re.sub(
        r'font: ([\d.]+px)[^;"]*', r"font-size: \1", text
    )  # matplotlib 3.9 writes the shorthand
    text = re.sub(r"#fe(\w\w)fd", lambda m: f"var(--c{int(m[1], 16)})", text)
    return text.replace(INK, "currentColor").replace(GRID, "var(--grid)")
