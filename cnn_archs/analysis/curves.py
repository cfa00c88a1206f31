"""Training and test error by iteration, in the form of the ResNet paper's figures 1 and 6."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnn_archs.analysis.cells import Cell, Collection
from cnn_archs.analysis.drawing import (
    COLOURS,
    STYLES,
    Figure,
    Key,
    Look,
    colour,
    groups,
    looks,
    panel,
)

BINS = 150  # points of a training curve, at most
FIRST = 32  # the part of a training in which it warms up


def curves(collection: Collection) -> list[Figure]:
    """Error by iteration, a figure for each dataset, in it a panel a group."""
    of_datasets: dict[str, list[Part]] = {}
    for group, cells in groups(collection).items():
        drawn = [c for c in cells if c.lines("test") or c.lines("train")]
        for dataset in dict.fromkeys(c.dataset for c in drawn):
            here = [c for c in drawn if c.dataset == dataset]
            of_datasets.setdefault(dataset, []).extend((group, part) for part in chunks(here))
    title = "Training and test error"
    return [
        of_parts(parts, title + (f" on {dataset}" if len(of_datasets) > 1 else ""), collection)
        for dataset, parts in of_datasets.items()
    ]


Part = tuple[str, Sequence[Cell]]  # of a figure: a panel's title and its cells


def of_parts(parts: Sequence[Part], title: str, collection: Collection) -> Figure:
    """Panels with the same axes."""
    look = looks(collection)
    every = [c for _, cells in parts for c in cells]
    top, cut = highest(every)
    longest = max(line["step"] for c in every for run in c.runs for line in run.metrics)
    panels = []
    for group, cells in parts:

        def draw(axis: Any, group: str = group, cells: Sequence[Cell] = cells) -> None:
            for cell in cells:
                draw_curves(axis, cell, colour(look[cell.name]))
            axis.set(title=group, xlabel="iterations", ylabel="error, %")
            axis.set(xlim=(0, longest * 1.01), ylim=(0, top))
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_formatter(FuncFormatter(thousands))

        says = f"Error by iteration of {', '.join(c.name for c in cells)}"
        keys = [Key(Look(look[c.name].colour, 0), c.name) for c in cells]
        panels.append(panel(draw, says, keys))
    caption = (
        "Dashed: training error, the running average on augmented batches. Bold: test error. Means "
        "over the seeds that are trained to their end; each thin line is a seed."
    )
    return Figure(title, caption + " What is higher is cut off." * cut, panels)


def chunks(cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    """No more lines than colours in a panel."""
    yield from (cells[i : i + COLOURS] for i in range(0, len(cells), COLOURS))


def thousands(value: float, _: Any) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def highest(cells: Sequence[Cell]) -> tuple[float, bool]:
    """Top of the axis in percent, where the last errors are well seen; is anything cut off?"""
    lines = [by for c in cells for split in ("train", "test") for by in c.lines(split).values()]
    last = max(by[-1]["top1_error"] for by in lines)
    most = max(line["top1_error"] for by in lines for line in by)
    top = min(2.2 * last, 1.03 * most) or 1.0
    return 100 * top, top < most


def draw_curves(axis: Any, cell: Cell, ink: str) -> None:
    for split, style, width in (("train", (0, (4, 2)), 1.1), ("test", "-", 1.9)):
        of_seeds = {seed: series(lines) for seed, lines in cell.lines(split).items()}
        if len(of_seeds) > 1:
            for steps, errors in of_seeds.values():
                axis.plot(steps, errors, color=ink, linewidth=0.5, alpha=0.55)
        whole = [of_seeds[seed] for seed in cell.seeds if seed in of_seeds]
        if meant := whole or list(of_seeds.values()):
            axis.plot(*mean_of(meant), color=ink, linewidth=width, linestyle=style)


def series(lines: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[float]]:
    """(steps, errors in percent) of at most BINS points: means over the images in between."""
    size = -(-len(lines) // BINS)
    steps, errors = [], []
    for i in range(0, len(lines), size):
        part = lines[i : i + size]
        images = sum(p["examples"] for p in part)
        steps.append(part[-1]["step"])
        errors.append(100 * sum(p["top1_error"] * p["examples"] for p in part) / images)
    return steps, errors


def mean_of(of_seeds: Sequence[tuple[list[int], list[float]]]) -> tuple[list[int], list[float]]:
    """Over the seeds, at the steps that all of them have."""
    found = [dict(zip(*one, strict=True)) for one in of_seeds]
    steps = [s for s in of_seeds[0][0] if all(s in f for f in found)]
    return steps, [statistics.fmean(f[s] for f in found) for s in steps]


def warm_up(collection: Collection) -> Figure | None:
    """The beginning of runs whose learning rate warms up: training error and rate."""
    cells = [c for c in collection.cells if warms_up(c) and c.lines("train")]
    if not cells:
        return None
    look = looks(collection)
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
                    style = dict(color=colour(one), linestyle=STYLES[one.style])
                    axis.plot(steps, values, linewidth=1.4, **style)
            axis.set(xlabel="iterations", ylabel=label)
            axis.set_ylim(bottom=0)

        keys = [Key(look[c.name], c.name) for c in cells]
        panels.append(panel(draw, f"{label} at the beginning", keys))
    return Figure("The warm-up", "The first iterations; a line a seed.", panels)


def warms_up(cell: Cell) -> bool:
    return cell.config.get("warmup", {}).get("name", "none") != "none"
