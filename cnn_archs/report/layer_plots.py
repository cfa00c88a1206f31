"""Figures of the layers' statistics, and of errors on altered test images."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from cnn_archs.report.runs import CellRecord, Collection
from cnn_archs.report.svg import (
    MARKERS,
    STYLES,
    Figure,
    LegendKey,
    Look,
    Panel,
    assign_looks,
    draw_panel,
    look_color,
    make_logarithmic,
    plot_bars,
    plot_curve,
)

LayerLines = Mapping[str, Sequence[float]]  # {cell: one value per layer}


def diagnostics_lines(cell: CellRecord) -> list[Mapping[str, Any]]:
    """Return the lines of diagnostics.jsonl of the finished seeds, or of all if none is done."""
    lines = [line for run in cell.runs for line in run.diagnostics]
    return [line for line in lines if line["seed"] in cell.seeds] or lines


def diagnosed_steps(cell: CellRecord) -> list[int]:
    """List the steps, in order, at which every seed has diagnostics."""
    of_seeds: dict[int, set[int]] = {}
    for line in diagnostics_lines(cell):
        of_seeds.setdefault(line["seed"], set()).add(line["step"])
    return sorted(set.intersection(*of_seeds.values())) if of_seeds else []


def layer_values(cell: CellRecord, quantity: str, step: int) -> list[float]:
    """Return the mean over seeds of a quantity at a step, for each layer that has it."""
    of_layers: dict[str, list[float]] = {}
    for line in diagnostics_lines(cell):
        for layer in line["layers"] if line["step"] == step else []:
            if layer.get(quantity) is not None:
                of_layers.setdefault(layer["name"], []).append(layer[quantity])
    return [statistics.fmean(values) for values in of_layers.values()]


def responses_figure(collection: Collection) -> Figure | None:
    """Draw the standard deviation of each layer's response, as in the ResNet paper's figure 7."""
    last = {c.name: steps[-1] for c in collection.cells if (steps := diagnosed_steps(c))}
    cells = [c for c in collection.cells if c.name in last]
    found = {c.name: layer_values(c, "response_sd", last[c.name]) for c in cells}
    found = {name: values for name, values in found.items() if values}
    if not found:
        return None
    by_size = {name: sorted(values, reverse=True) for name, values in found.items()}
    panels = [
        layer_panel(collection, found, "in the order of the layers", "layer", "deviation"),
        layer_panel(collection, by_size, "by their size", "layer, by size", "deviation"),
    ]
    caption = (
        "Standard deviation of each layer's responses before nonlinearity and addition, behind "
        f"batch normalization if there is any, {format_steps({last[name] for name in found})}; "
        "means over seeds."
    )
    return Figure("Layer responses", caption, panels)


def diagnosed_moments(collection: Collection) -> list[dict[str, int]]:
    """Return {cell: step} for up to four moments of a training.

    They are the first logged step, the next, the middle and the last. The middle is that of the
    cell with the most logged steps; the last is each cell's own. A moment leaves out the cells that
    have not come as far.
    """
    steps = {c.name: diagnosed_steps(c) for c in collection.cells}
    steps = {name: logged for name, logged in steps.items() if logged}
    longest = max(map(len, steps.values()), default=0)
    before = [i for i in dict.fromkeys((0, 1, longest // 2)) if i < longest - 1]
    found = [{name: s[i] for name, s in steps.items() if i < len(s)} for i in before]
    last = {name: s[-1] for name, s in steps.items() if len(s) > len(before[:1])}
    return [*found, last] if last else []


def gradients_figure(collection: Collection) -> Figure | None:
    """Draw the norm of each layer's gradient, one panel for each of `diagnosed_moments`."""
    panels = []
    for steps in diagnosed_moments(collection):
        cells = [c for c in collection.cells if c.name in steps]
        lines = {c.name: layer_values(c, "gradient_norm", steps[c.name]) for c in cells}
        lines = {name: values for name, values in lines.items() if values}
        if lines:
            title = format_steps({steps[name] for name in lines})
            panels.append(layer_panel(collection, lines, title, "layer", "norm", log=True))
    caption = "Norm of the loss's gradient with respect to each layer's weights; means over seeds."
    return Figure("Gradients by layer", caption, panels) if panels else None


def format_steps(steps: set[int]) -> str:
    """Format `at step 1,000`, or `at step 900 to 1,000` if cells differ."""
    return f"at step {' to '.join(f'{s:,}' for s in sorted({min(steps), max(steps)}))}"


def layer_panel(
    collection: Collection, lines: LayerLines, title: str, x: str, y: str, log: bool = False
) -> Any:
    """Draw one line per cell and one point per layer."""
    look = assign_looks(collection)

    def draw(axis: Any) -> None:
        for name, values in lines.items():
            usable = [v if math.isfinite(v) and (v > 0 or not log) else math.nan for v in values]
            style = dict(color=look_color(look[name]), linestyle=STYLES[look[name].style])
            layers = list(range(1, len(usable) + 1))
            plot_curve(axis, name, "", layers, usable, linewidth=1.4, **style)
        axis.set(title=title, xlabel=x, ylabel=y)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if log:
            make_logarithmic(axis, "y")
        else:
            axis.set_ylim(bottom=0)

    keys = [LegendKey(look[name], name) for name in lines]
    return draw_panel(draw, f"{y} {title} of {', '.join(lines)}", keys)


def robustness_figures(collection: Collection) -> list[Figure]:
    """Draw the error on altered test images: a figure for the cells with the same test images.

    There is one panel per kind of change, with one line per cell.
    """
    alike: dict[str, list[CellRecord]] = {}
    for cell in collection.cells:
        if any(run.robustness for run in cell.runs):
            alike.setdefault(cell.images, []).append(cell)
    look = assign_looks(collection)
    figures = []
    for images, cells in alike.items():
        kinds = dict.fromkeys(kind for c in cells for run in c.runs for kind in run.robustness)
        caption = (
            f"Error on altered test images of {images}, mean over seeds; bars are standard "
            "deviations over seeds."
        )
        title = "Robustness" + (f" on {images}" if len(alike) > 1 else "")
        figures.append(Figure(title, caption, [damage_panel(cells, look, kind) for kind in kinds]))
    return figures


def damage_panel(cells: Sequence[CellRecord], look: Mapping[str, Look], kind: str) -> Panel:
    """Draw error against the amount of one kind of change, for the cells that have it."""
    found = {c.name: c for c in cells if any(kind in r.robustness for r in c.runs)}
    unit = next(r.robustness[kind]["unit"] for c in found.values() for r in c.runs if r.robustness)

    def draw(axis: Any) -> None:
        for name, cell in found.items():
            amounts, means, sds = damage(cell, kind)
            style = dict(color=look_color(look[name]), linewidth=1.4)
            plot_bars(axis, name, amounts, means, sds, **style)
            marker = dict(marker=MARKERS[look[name].style], markersize=3.5)
            marker |= dict(linestyle=STYLES[look[name].style])
            plot_curve(axis, name, "", amounts, means, **style, **marker)
        axis.set(title=kind, xlabel=f"{kind}, {unit}", ylabel="error, %")
        axis.set_ylim(bottom=0)

    keys = [LegendKey(look[name], name) for name in found]
    return draw_panel(draw, f"error against {kind} of {', '.join(found)}", keys)


def damage(cell: CellRecord, kind: str) -> tuple[list[float], list[float], list[float]]:
    """Return amounts, means and standard deviations over a cell's seeds; errors are in percent."""
    curves = [run.robustness[kind] for run in cell.runs if kind in run.robustness]
    amounts = [a for a in curves[0]["amounts"] if all(a in c["amounts"] for c in curves)]
    means, sds = [], []
    for amount in amounts:
        of_seeds = [c["top1_error"][c["amounts"].index(amount)] for c in curves]
        values = [100 * v for one in of_seeds for v in one]
        means.append(statistics.fmean(values))
        sds.append(statistics.stdev(values) if len(values) > 1 else 0.0)
    return amounts, means, sds
