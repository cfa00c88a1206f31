"""Figures with one point per cell: error against depth, multiply-adds or parameters."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cnn_archs.report.runs import CellRecord, Collection
from cnn_archs.report.svg import (
    INK,
    MARKERS,
    Figure,
    LegendKey,
    Look,
    Panel,
    assign_looks,
    cells_by_group,
    draw_panel,
    look_color,
)

TITLES = {
    "depth": "The gap by depth",
    "macs": "Error against cost",
    "params": "Error against size",
}
AXES = {"depth": "layers with weights", "macs": "multiply-adds", "params": "parameters"}


def size_of(cell: CellRecord, x: str) -> float | None:
    """Return the x value of a cell: its depth, or a value of its result."""
    return cell.depth if x == "depth" else cell.first(x)


def size_figures(collection: Collection) -> list[Figure]:
    """Draw error against depth, or against the value that the sweep names, with one line per group.

    There is one figure for the cells with the same test images and protocol, and none if the sweep
    asks for none, or if no group has two points.
    """
    x, parts = collection.x, cells_by_group(collection)
    if not x or (x != "depth" and not collection.groups):
        return []
    alike, figures = collection.by_measured("test"), []
    for measured, tested in alike.items():
        panels = []
        for metric, title in (("train.top1_error", "training"), ("test.top1_error", "test")):
            points = {
                g: points_of([c for c in cells if c in tested], x, metric)
                for g, cells in parts.items()
            }
            points = {g: p for g, p in points.items() if len(p) > 1}
            if points:
                panels.append(size_panel(points, x, title))
        caption = (
            f"On {measured}: last epoch, mean over seeds; bars are standard deviations over seeds, "
            "where there are several."
        )
        if panels:
            where = f" on {measured.images}" if len(alike) > 1 else ""
            figures.append(Figure(TITLES[x] + where, caption, panels))
    return figures


Point = tuple[float, float, float, str]  # x, mean in percent, standard deviation, name


def points_of(cells: Sequence[CellRecord], x: str, metric: str) -> list[Point]:
    """Return the cells that have both values, ordered by x."""
    found = []
    for cell in cells:
        values = [100 * v for v in cell.values(metric).values()]
        size = size_of(cell, x)
        if values and size:
            sd = statistics.stdev(values) if len(values) > 1 else 0.0
            found.append((float(size), statistics.fmean(values), sd, cell.name))
    return sorted(found)


def size_panel(points: Mapping[str, Sequence[Point]], x: str, title: str) -> Panel:
    """Draw one line per group. points: {group: points}."""

    def draw(axis: Any) -> None:
        for i, found in enumerate(points.values()):
            xs, means, sds, _ = zip(*found, strict=True)
            style = dict(color=f"#fe{i:02x}fd", marker=MARKERS[i % 4], markersize=5, capsize=3)
            axis.errorbar(xs, means, yerr=sds if any(sds) else None, linewidth=1.6, **style)
        axis.set(title=f"{title} error", xlabel=AXES[x], ylabel="error, %")
        every = sorted({p[0] for found in points.values() for p in found})
        if x == "depth" and len(every) <= 8:
            axis.set_xticks(every, [f"{n:g}" for n in every])
        if x != "depth":
            set_log_axis(axis)

    legend = [LegendKey(Look(i, 0), g) for i, g in enumerate(points) if g]
    return draw_panel(draw, f"{title} error against {AXES[x]}", legend)


def set_log_axis(axis: Any) -> None:
    """Make the x axis logarithmic, with plain tick labels."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(engineering))
    axis.xaxis.set_minor_formatter(NullFormatter())


def engineering(value: float, _: Any) -> str:
    """Format a tick: `40M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def cost_figures(collection: Collection) -> list[Figure]:
    """Draw test error against multiply-adds and parameters.

    There is one figure for the cells with the same test images and protocol. A panel is left out
    if all of its cells have the same x.
    """
    if collection.x == "depth":
        return []
    alike, figures = collection.by_measured("test"), []
    for measured, cells in alike.items():
        panels = []
        for x in ("macs", "params"):
            points = points_of(cells, x, "test.top1_error")
            if len({p[0] for p in points}) > 1:
                panels.append(cost_panel(points, x, assign_looks(collection)))
        if panels:
            title = "Cost against error" + (f" on {measured.images}" if len(alike) > 1 else "")
            caption = (
                f"Test error on {measured}, mean over seeds; bars are standard deviations over "
                "seeds."
            )
            figures.append(Figure(title, caption, panels))
    return figures


def cost_panel(points: Sequence[Point], x: str, look: Mapping[str, Look]) -> Panel:
    """Draw one point per cell, with the names to the right of the axis, ordered by error."""

    def draw(axis: Any) -> None:
        for size, mean, sd, name in points:
            style = look[name]
            bar = dict(
                color=look_color(style), marker=MARKERS[style.style], markersize=5, capsize=3
            )
            axis.errorbar([size], [mean], yerr=[sd] if sd else None, linestyle="none", **bar)
        axis.set(xlabel=AXES[x], ylabel="test error, %")
        sizes = [p[0] for p in points]
        if max(sizes) > 3 * min(sizes):
            set_log_axis(axis)
        else:
            axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(engineering))
        axis.margins(0.08)
        name_points(axis, points)

    return draw_panel(draw, f"test error against {AXES[x]}: " + ", ".join(p[3] for p in points))


def name_points(axis: Any, points: Sequence[Point]) -> None:
    """Write each point's name to the right of the axis, with a line to the point.

    The names do not overlap.
    """
    low, high = axis.get_ylim()
    ordered = sorted(points, key=lambda p: p[1])
    apart = min(0.058, 1 / max(len(points) - 1, 1))  # as a part of the axis' height
    at: list[float] = []
    for p in ordered:
        wanted = (p[1] - low) / (high - low)
        at.append(max(wanted, at[-1] + apart) if at else wanted)
    over = max(at[-1] - 1.0, 0.0)
    for i in reversed(range(len(at))):  # those above the top push the others down
        at[i] = min(at[i] - over, at[i + 1] - apart) if i + 1 < len(at) else at[i] - over
    for p, y in zip(ordered, at, strict=True):
        axis.annotate(
            p[3],
            xy=(p[0], p[1]),
            xytext=(1.04, y),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops=dict(
                arrowstyle="-", color=INK, alpha=0.4, linewidth=0.6, shrinkA=0, shrinkB=4
            ),
            annotation_clip=False,
        )
