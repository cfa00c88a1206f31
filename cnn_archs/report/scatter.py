"""Figures with one point per cell: error against depth, multiply-adds or parameters."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnn_archs.report.runs import CellRecord, Collection, Measured
from cnn_archs.report.svg import (
    COLORS,
    INK,
    MARKERS,
    Figure,
    LegendKey,
    Look,
    Panel,
    assign_looks,
    cells_by_group,
    draw_panel,
    engineering,
    fit_errors,
    look_color,
    make_logarithmic,
    plot_bars,
    plot_curve,
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

    There is one figure for the cells with the same test images, protocol and training images, and
    none if the sweep asks for none, or if no group has two points.
    """
    x, parts = collection.x, cells_by_group(collection)
    if not x or (x != "depth" and not collection.groups):
        return []
    alike: dict[tuple[Measured, str], list[CellRecord]] = {}
    for measured, of_images in collection.by_measured("test").items():
        for cell in of_images:
            alike.setdefault((measured, cell.training_images), []).append(cell)
    figures = []
    for (measured, training), tested in alike.items():
        panels = []
        for metric, split in (("train.top1_error", "training"), ("test.top1_error", "test")):
            points = {
                g: points_of([c for c in cells if c in tested], x, metric)
                for g, cells in parts.items()
            }
            points = {g: p for g, p in points.items() if len(p) > 1}
            if points:
                panels.append(size_panel(points, x, split))
        caption = (
            f"On {measured}, trained on {training}: last epoch, mean over seeds; bars are standard "
            "deviations over seeds, where there are several."
        )
        if panels:
            where = f" on {measured.images}, trained on {training}" if len(alike) > 1 else ""
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
            style = dict(color=look_color(Look(i % COLORS, 0)), linewidth=1.6)
            name = list(points)[i]
            plot_bars(axis, name, xs, means, sds, **style)
            marker = dict(marker=MARKERS[i % len(MARKERS)], markersize=5)
            plot_curve(axis, name, "", xs, means, **style, **marker)
        axis.set(title=f"{title} error", xlabel=AXES[x], ylabel="error, %")
        fit_errors(axis, [p[1] for found in points.values() for p in found])
        every = sorted({p[0] for found in points.values() for p in found})
        if x == "depth" and len(every) <= 8:
            axis.set_xticks(every, [f"{n:g}" for n in every])
        if x != "depth":
            make_logarithmic(axis, "x")

    legend = [LegendKey(Look(i % COLORS, 0), g) for i, g in enumerate(points) if g]
    return draw_panel(draw, f"{title} error against {AXES[x]}", legend)


def cost_figures(collection: Collection) -> list[Figure]:
    """Draw test error against multiply-adds and parameters.

    There is one figure for the cells with the same test images and protocol. If they differ in
    their training images, the name of each point tells them. A panel is left out if all of its
    cells have the same x.
    """
    if collection.x == "depth":
        return []
    alike, figures = collection.by_measured("test"), []
    for measured, cells in alike.items():
        trained = {cell.training_images for cell in cells}
        marks = {c.name: f", {c.training_images}" * (len(trained) > 1) for c in cells}
        panels = []
        for x in ("macs", "params"):
            points = points_of(cells, x, "test.top1_error")
            if len({p[0] for p in points}) > 1:
                panels.append(cost_panel(points, x, assign_looks(collection), marks))
        if panels:
            title = "Cost against error" + (f" on {measured.images}" if len(alike) > 1 else "")
            caption = (
                f"Test error on {measured}, mean over seeds; bars are standard deviations over "
                "seeds."
            )
            figures.append(Figure(title, caption, panels))
    return figures


def cost_panel(
    points: Sequence[Point], x: str, look: Mapping[str, Look], marks: Mapping[str, str]
) -> Panel:
    """Draw one point per cell, with the names to the right of the axis, ordered by error.

    marks: what is added to each name.
    """

    def draw(axis: Any) -> None:
        for size, mean, sd, name in points:
            ink = look_color(look[name])
            shown = name + marks[name]
            plot_bars(axis, shown, [size], [mean], [sd], color=ink)
            marker = dict(marker=MARKERS[look[name].style], markersize=5, linestyle="none")
            plot_curve(axis, shown, "", [size], [mean], color=ink, **marker)
        axis.set(xlabel=AXES[x], ylabel="test error, %")
        sizes = [p[0] for p in points]
        if max(sizes) > 3 * min(sizes):
            make_logarithmic(axis, "x")
        else:
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.xaxis.set_major_formatter(FuncFormatter(engineering))
        axis.margins(0.08)
        fit_errors(axis, [p[1] for p in points])
        name_points(axis, [(*p[:3], p[3] + marks[p[3]]) for p in points])

    return draw_panel(draw, f"test error against {AXES[x]}: " + ", ".join(p[3] for p in points))


def name_points(axis: Any, points: Sequence[Point]) -> None:
    """Write each point's name to the right of the axis, with a line to the point.

    The names do not overlap.
    """
    low, high = map(axis.yaxis.get_transform().transform, axis.get_ylim())
    ordered = sorted(points, key=lambda p: p[1])
    apart = min(0.058, 1 / max(len(points) - 1, 1))  # as a part of the axis' height
    at: list[float] = []
    for p in ordered:
        wanted = (axis.yaxis.get_transform().transform(p[1]) - low) / (high - low)
        at.append(max(wanted, at[-1] + apart) if at else wanted)
    over = max(at[-1] - 1.0, 0.0)
    for i in reversed(range(len(at))):  # those above the top push the others down
        at[i] = min(at[i] - over, at[i + 1] - apart) if i + 1 < len(at) else at[i] - over
    for p, y in zip(ordered, at, strict=True):
        note = axis.annotate(
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
        note.set_gid("note")
        note.arrow_patch.set_gid("note")
