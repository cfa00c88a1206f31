"""Learning curves: those of a report, like the ResNet paper's figures 1 and 6, and a run's PNG."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import figure as canvas
from matplotlib import style
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnn_archs.arithmetic import ceil_div
from cnn_archs.report.read_runs import read_run
from cnn_archs.report.runs import CellRecord, Collection
from cnn_archs.report.svg import (
    COLORS,
    INK_COLOR,
    STYLES,
    UNLIKE,
    Figure,
    LegendKey,
    Look,
    assign_looks,
    cells_by_group,
    draw_panel,
    look_color,
    make_logarithmic,
    plot_curve,
)
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.files import atomic_write

BINS = 150  # points of a training curve, at most
FIRST = 32  # the warm-up figure shows the first 1/FIRST of a training


class Line(NamedTuple):
    """The label, the line style of matplotlib and the width of the curve of a split."""

    label: str
    style: Any
    width: float


LINES = {  # of the splits in metrics.jsonl
    "train": Line("train", (0, (4, 2)), 1.1),
    "val": Line("held out", ":", 1.9),
    "val_average": Line("held out, averaged weights", (0, (1, 3)), 1.9),
    "test": Line("test", "-", 1.9),
    "test_average": Line("test, averaged weights", "-.", 1.9),
}


KIND_LOOKS = {"train": Look(INK_COLOR, 1), "test": Look(INK_COLOR, 0)}  # in legends


def error_figures(collection: Collection) -> list[Figure]:
    """Draw error by iteration: a figure for each dataset and size, a panel per group of cells."""
    of_images: dict[str, list[PanelCells]] = {}
    for group, cells in cells_by_group(collection).items():
        drawn = [c for c in cells if c.lines("test") or c.lines("train")]
        for images in dict.fromkeys(c.images for c in drawn):
            here = [c for c in drawn if c.images == images]
            parts = [(group, p) for alike in split_by_length(here) for p in split_by_colors(alike)]
            of_images.setdefault(images, []).extend(parts)
    title = "Training and test error"
    return [
        panels_figure(parts, title + (f" on {images}" if len(of_images) > 1 else ""), collection)
        for images, parts in of_images.items()
    ]


PanelCells = tuple[str, Sequence[CellRecord]]  # the title of a panel, and its cells


class Limits(NamedTuple):
    """The axes of a panel of errors: steps from 0 to `right`, percent from `bottom` to `top`.

    log: whether the scale of errors is logarithmic. cut: whether `top` cuts anything off.
    """

    right: float
    bottom: float
    top: float
    log: bool = False
    cut: bool = False


def panels_figure(parts: Sequence[PanelCells], title: str, collection: Collection) -> Figure:
    """Draw one panel for each of `parts`, with the same axes if these fit the curves of all."""
    look = assign_looks(collection)
    limits = common_limits([error_limits(cells) for _, cells in parts])
    panels = []
    for (group, cells), fit in zip(parts, limits, strict=True):

        def draw(
            axis: Any, group: str = group, cells: Sequence[CellRecord] = cells, fit: Limits = fit
        ) -> None:
            for cell in cells:
                draw_errors(axis, cell, look_color(look[cell.name]))
            axis.set(title=group, xlabel="iterations", ylabel="error, %")
            axis.set(xlim=(0, fit.right), ylim=(fit.bottom, fit.top))
            if fit.log:
                make_logarithmic(axis, "y")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_formatter(FuncFormatter(thousands))

        says = f"Error by iteration of {', '.join(c.name for c in cells)}"
        keys = [LegendKey(Look(look[c.name].color, 0), c.name) for c in cells]
        logged = [split for split in ("train", "test") if any(c.lines(split) for c in cells)]
        keys += [LegendKey(KIND_LOOKS[split], LINES[split].label, is_kind=True) for split in logged]
        panels.append(draw_panel(draw, says, keys))
    caption = "Dashed: training error, the running average on training batches. Bold: test error."
    if any(len(c.lines(s)) > 1 for _, cells in parts for c in cells for s in ("train", "test")):
        caption += (
            " Means over the seeds that are trained to their end; where a cell has several, each "
            "thin line is a seed."
        )
    if any(fit.cut for fit in limits):
        caption += " What is higher is cut off."
    if any(fit.log for fit in limits):
        caption += " The scale of errors is logarithmic: 0 lies below its lower edge."
    return Figure(title, caption, panels)


def split_by_length(cells: Sequence[CellRecord]) -> list[list[CellRecord]]:
    """Split cells so that in each part the longest log is at most UNLIKE times the shortest."""
    parts: list[tuple[int, list[CellRecord]]] = []
    for cell in sorted(cells, key=last_step):
        if not parts or last_step(cell) > UNLIKE * parts[-1][0]:
            parts.append((last_step(cell), []))
        parts[-1][1].append(cell)
    return [[cell for cell in cells if cell in part] for _, part in parts]


def last_step(cell: CellRecord) -> int:
    """Return the last logged step of a cell."""
    return max(line["step"] for run in cell.runs for line in run.metrics)


def split_by_colors(cells: Sequence[CellRecord]) -> Iterator[Sequence[CellRecord]]:
    """Split cells so that no panel has more lines than there are colors."""
    yield from (cells[i : i + COLORS] for i in range(0, len(cells), COLORS))


def thousands(value: float, _: Any) -> str:
    """Format a tick: `64k`."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def error_limits(cells: Sequence[CellRecord]) -> Limits:
    """Return axes that fit the curves of `cells`.

    The axis of errors is logarithmic if the last test errors are UNLIKE times apart. Otherwise its
    top is low enough that the last errors can be told apart, and its bottom is 0, unless that would
    leave almost half of it empty.
    """
    right = 1.01 * max(map(last_step, cells))
    lines = [by for c in cells for split in ("train", "test") for by in c.lines(split).values()]
    every = [100 * line["top1_error"] for by in lines for line in by]
    most, least = max(every), min((error for error in every if error > 0), default=0.0)
    last = [100 * by[-1]["top1_error"] for c in cells for by in c.lines("test").values()]
    if last and max(last) > UNLIKE * max(min(last), least):
        return Limits(right, least / 1.3, 1.1 * most, log=True)
    top = min(2.2 * max(100 * by[-1]["top1_error"] for by in lines), 1.03 * most) or 1.0
    bottom = min(every) - 0.05 * (top - min(every)) if min(every) > 0.45 * top else 0.0
    return Limits(right, bottom, top, cut=top < most)


def common_limits(found: Sequence[Limits]) -> Sequence[Limits]:
    """Return the widest axes for every panel, or each panel's own if these are too unlike."""
    bottom, top = min(fit.bottom for fit in found), max(fit.top for fit in found)
    right = max(fit.right for fit in found)
    for fit in found:
        is_flat = top - bottom > UNLIKE * (fit.top - fit.bottom)
        if right > UNLIKE * fit.right or is_flat or fit.log != found[0].log:
            return found
    return [fit._replace(right=right, bottom=bottom, top=top) for fit in found]


def draw_errors(axis: Any, cell: CellRecord, ink: str) -> None:
    """Draw training and test error by step."""
    for split in ("train", "test"):
        draw_split(axis, cell, split, ink)


def draw_split(
    axis: Any,
    cell: CellRecord,
    split: str,
    ink: str,
    x: str = "step",
    metric: str = "top1_error",
    labeled: bool = False,
) -> None:
    """Draw `metric` of one split by `x`, step or epoch: a thin line per seed, and their mean.

    The mean is over the seeds that are trained to their end, or over all seeds if none is. Errors
    are drawn in percent. labeled: whether the mean gets a label for a legend.
    """
    line = LINES[split]
    of_seeds = {seed: binned_curve(lines, x, metric) for seed, lines in cell.lines(split).items()}
    if len(of_seeds) > 1:
        for points, values in of_seeds.values():
            thin = dict(color=ink, linewidth=0.5, alpha=0.55)
            plot_curve(axis, cell.name, f"seed {line.label}", points, values, **thin)
    whole = [of_seeds[seed] for seed in cell.seeds if seed in of_seeds]
    if meant := whole or list(of_seeds.values()):
        style = dict(linewidth=line.width, linestyle=line.style)
        label = line.label if labeled else None
        plot_curve(axis, cell.name, line.label, *mean_curve(meant), color=ink, label=label, **style)


def binned_curve(
    lines: Sequence[Mapping[str, Any]], x: str = "step", metric: str = "top1_error"
) -> tuple[list[float], list[float]]:
    """Average the lines of a log into at most BINS points, weighted by images.

    Returns the last `x` and the mean of `metric` of each bin; errors are in percent, other metrics
    unscaled.
    """
    size, scale = ceil_div(len(lines), BINS), 100 if metric.endswith("error") else 1
    points, values = [], []
    for i in range(0, len(lines), size):
        part = lines[i : i + size]
        images = sum(p["examples"] for p in part)
        points.append(part[-1][x])
        values.append(scale * sum(p[metric] * p["examples"] for p in part) / images)
    return points, values


def mean_curve(
    of_seeds: Sequence[tuple[list[float], list[float]]],
) -> tuple[list[float], list[float]]:
    """Average curves over the seeds, at the points that all of them have."""
    found = [dict(zip(*one, strict=True)) for one in of_seeds]
    points = [p for p in of_seeds[0][0] if all(p in f for f in found)]
    return points, [statistics.fmean(f[p] for f in found) for p in points]


@style.context("default")
def write_curves_png(workdir: Path) -> Path:
    """Draw error and loss by epoch, for each split that a run logged, as a PNG in its folder."""
    folder = RunDir(workdir)
    run = read_run(folder)
    cell = CellRecord(workdir.name, "", (), [run])
    figure = canvas.Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, metric, label in zip(axes, ("top1_error", "loss"), ("error, %", "loss"), strict=True):
        for i, split in enumerate(LINES):
            draw_split(axis, cell, split, f"C{i}", "epoch", metric, labeled=True)
        axis.set(xlabel="epoch", ylabel=label)
        make_logarithmic(axis, "y")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    seeds = len(cell.seeds)
    title = f"{run.result['name']} on {run.result['dataset']}"
    figure.suptitle(f"{title}, {seeds} seed{'s' if seeds > 1 else ''}")
    with atomic_write(folder.curves) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return folder.curves


def warm_up_figure(collection: Collection) -> Figure | None:
    """Draw the training error and the learning rate at the beginning of runs that warm up.

    Returns None if there is no such run.
    """
    cells = [c for c in collection.cells if warms_up(c) and c.lines("train")]
    if not cells:
        return None
    look = assign_looks(collection)
    panels = []
    for key, label, factor in (
        ("top1_error", "training error, %", 100),
        ("learning_rate", "learning rate", 1),
    ):

        def draw(axis: Any, key: str = key, label: str = label, factor: int = factor) -> None:
            for cell in cells:
                one = look[cell.name]
                for lines in cell.lines("train").values():
                    first = lines[: max(len(lines) // FIRST, 10)]
                    steps, values = [p["step"] for p in first], [factor * p[key] for p in first]
                    style = dict(color=look_color(one), linestyle=STYLES[one.style], linewidth=1.4)
                    plot_curve(axis, cell.name, "", steps, values, **style)
            axis.set(xlabel="iterations", ylabel=label)
            axis.set_ylim(bottom=0)

        keys = [LegendKey(look[c.name], c.name) for c in cells]
        panels.append(draw_panel(draw, f"{label} at the beginning", keys))
    return Figure("The warm-up", "The first iterations; one line per seed.", panels)


def warms_up(cell: CellRecord) -> bool:
    """Return whether the cell's learning rate warms up."""
    return cell.config.get("warmup", {}).get("name", "none") != "none"
