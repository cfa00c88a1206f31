"""The tables of a report: results, epochs, and which runs were made where."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn_archs.report import provenance
from cnn_archs.report.runs import CellRecord, Collection
from cnn_archs.report.table import Table
from cnn_archs.report.text import mean_sd
from cnn_archs.report.time_to_error import time_to_error

SPLIT_LABELS = {
    "test": "test",
    "test_average": "test, averaged weights",
    "challenge": "challenge",
    "val": "held out",
    "train_eval": "train, as in testing",
    "train": "train, running average",
}
NO_VALUE = "–"


def is_error(metric: str) -> bool:
    """Return whether a metric is a fraction that is shown in percent."""
    return metric.endswith("error")


def format_values(values: Sequence[float], metric: str) -> str:
    """Format values as `1.23 ± 0.04 (5)`: errors in percent, other metrics unscaled."""
    if not values:
        return NO_VALUE
    scale, digits = (100.0, 2) if is_error(metric) else (1.0, 4 if max(values) < 10 else 1)
    return mean_sd(values, scale, digits) + (" (1)" if len(values) == 1 else "")


def results_tables(collection: Collection) -> Iterator[Table]:
    """Yield the errors of all cells, one table for the same test images and protocol.

    The rows are sorted by test error, and those with the least are marked. The training images are
    told in a column if the cells differ in them.
    """
    for measured, alike in collection.by_measured("test").items():
        cells = sorted(alike, key=test_error)
        metrics = [f"{split}.top1_error" for split in SPLIT_LABELS]
        metrics = [m for m in metrics if any(c.values(m) for c in cells)]
        metrics += [m for m in collection.columns if m not in metrics]
        marked = len({cell.training_images for cell in cells}) > 1
        rows = [
            (
                cell.name,
                *(format_values(values_of_metric(cell, m), m) for m in metrics),
                *([cell.training_images.removesuffix(" training images")] if marked else []),
                *network_columns(cell),
            )
            for cell in cells
        ]
        best = [cell for cell in cells if test_error(cell) == test_error(cells[0])]
        heads = ["cell", *map(column_label, metrics), *["trained on"] * marked]
        words = (0, *[len(heads) - 1] * marked, len(heads))
        heads += ["network", "parameters", "multiply-adds"]
        caption = f"Top-1 error in percent on {measured}; the last epoch: " + (
            "mean ± standard deviation (seeds). Sorted by test error"
        )
        marks = len(best) if len(best) < len(cells) else 0
        yield Table(heads, rows, words=words, caption=caption, order=1, best=marks)


def test_error(cell: CellRecord) -> float:
    """Return the mean test error of a cell that has one, as a fraction."""
    return statistics.fmean(values_of_metric(cell, "test.top1_error"))


def column_label(metric: str) -> str:
    """Format `test.top1_error` as the head of a column of top-1 errors."""
    split, _, name = metric.partition(".")
    return SPLIT_LABELS.get(split, split) if name == "top1_error" else metric_label(metric)


def values_of_metric(cell: CellRecord, metric: str) -> list[float]:
    """List the value of each seed."""
    return list(cell.values(metric).values())


def metric_label(metric: str) -> str:
    """Format `test.top1_error` as `test, top-1 error`."""
    split, _, name = metric.partition(".")
    name = name.replace("top1", "top-1").replace("top5", "top-5").replace("_", " ")
    return f"{SPLIT_LABELS.get(split, split)}, {name}"


def network_columns(cell: CellRecord) -> tuple[str, str, str]:
    """Format a network's name, parameters and multiply-adds."""
    costs = (cell.first(key) for key in ("params", "macs"))
    return (str(cell.first("name") or NO_VALUE), *(f"{n:,}" if n else NO_VALUE for n in costs))  # type: ignore[return-value]


def reached_table(collection: Collection) -> Table:
    """Tabulate how long each cell took to reach each error that the sweep names."""
    rows = []
    several = len({cell.images for cell in collection.cells}) > 1
    for wanted in collection.reach:
        split, _, name = wanted["metric"].partition(".")
        for cell in collection.cells:
            what = f"{metric_label(wanted['metric'])}, of {100 * wanted['level']:g} %"
            if several:
                what += f", on {cell.images}"
            found = [
                time_to_error(lines, name, wanted["level"]) for lines in cell.lines(split).values()
            ]
            at = [f for f in found if f]
            steps, epochs = (format_values([f[i] for f in at], "steps") for i in (0, 1))
            if found:
                rows.append((cell.name, what, steps, epochs, f"{len(at)} of {len(found)}"))
    heads = ("cell", "to an error", "steps", "epochs", "networks")
    caption = "Steps to the first line of the log at or below the error"
    return Table(heads, rows, words=(0, 1), caption=caption)


class SelectedEpoch(NamedTuple):
    """The test error of one seed at the epoch with the least error on held-out images."""

    error: float
    epoch: float


def selected_epochs(cell: CellRecord) -> list[SelectedEpoch]:
    """Select an epoch for each seed; return [] if no held-out or test error was logged."""
    held, tested = cell.lines("val"), cell.lines("test")
    found = []
    for seed in cell.seeds:
        least = min(held.get(seed, []), key=lambda line: line["top1_error"], default=None)
        at = [t for t in tested.get(seed, []) if least and t["step"] == least["step"]]
        if at:
            found.append(SelectedEpoch(at[0]["top1_error"], at[0]["epoch"]))
    return found


def epochs_tables(collection: Collection) -> Iterator[Table]:
    """Yield the test errors at the last and at the best epoch, and how the best was chosen."""
    for measured, cells in collection.by_measured("test").items():
        if (table := epochs_table(cells, str(measured))).rows:
            yield table


def epochs_table(cells: Sequence[CellRecord], measured: str) -> Table:
    """Tabulate the cells of `epochs_tables` that were tested on the same images."""
    rows = []
    for cell in cells:
        last = values_of_metric(cell, "test.top1_error")
        if not last or not cell.first("epochs"):
            continue
        best = selected_epochs(cell)
        held = cell.config.get("data", {}).get("holdout", 0)
        if best:
            at = sorted(b.epoch for b in best)
            span = f"{at[0]:.4g}" if at[0] == at[-1] else f"{at[0]:.4g} to {at[-1]:.4g}"
            how = (format_values([b.error for b in best], "error"), span)
            chosen = f"least error on {held:,} held-out training images"
        elif held:
            how, chosen = (NO_VALUE, NO_VALUE), "not selected: no log of the held-out error"
        else:
            how, chosen = (NO_VALUE, NO_VALUE), "not selected: last epoch reported"
        rows.append(
            (cell.name, format_values(last, "error"), f"{cell.first('epochs'):.4g}", *how, chosen)
        )
    heads = ("cell", "last epoch", "at", "best epoch", "at", "the best is chosen by")
    caption = f"Test error in percent at the last and at the best epoch, on {measured}"
    return Table(heads, rows, words=(0, 5), caption=caption)


def runs_table(collection: Collection) -> Table:
    """Tabulate steps, speed, device and commit, with one row for the equal runs of a cell."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for cell in collection.cells:
        for run in cell.finished:
            r = run.result
            if "steps" in r and "seconds" in r:
                commit = (
                    ", ".join(c[:10] for c in provenance.commits_of(run.environment)) or NO_VALUE
                )
                length = f"{r['epochs']:.4g}" if "epochs" in r else NO_VALUE
                told = (f"{r['steps']:,}", length, r.get("device", NO_VALUE), commit)
                alike.setdefault((cell.name, *told), []).append(r)
    rows = []
    for (name, steps, length, device, commit), found in alike.items():
        seeds = [seed for r in found for seed in r["seeds"]]
        each = f"{sum(r['seconds'] for r in found) / len(seeds):,.0f}"
        speed = f"{statistics.fmean(r['images_per_second'] for r in found):,.0f}"
        rows.append((name, format_seeds(seeds), steps, length, each, speed, device, commit))
    heads = (
        "cell",
        "seed numbers",
        "steps",
        "epochs",
        "seconds per seed",
        "images/s",
        "device",
        "commit",
    )
    caption = "Seconds of training steps, without evaluations"
    return Table(heads, rows, words=(0, 6, 7), caption=caption)


def format_seeds(seeds: Sequence[int]) -> str:
    """Format `0 to 4`, or each seed if they are not consecutive."""
    whole = list(seeds) == list(range(seeds[0], seeds[-1] + 1)) if seeds else False
    return f"{seeds[0]} to {seeds[-1]}" if whole and len(seeds) > 2 else ", ".join(map(str, seeds))


def version_sentences(collection: Collection) -> list[str]:
    """List the package versions of the runs; if they differ, with the cells that have each."""
    found: dict[str, dict[str, None]] = {}
    for cell in collection.cells:
        for run in cell.runs:
            for stated in provenance.versions_of(run.environment):
                found.setdefault(stated, {})[cell.name] = None
    if len(found) == 1:
        return [f"{stated}." for stated in found]
    return [f"{stated}: {', '.join(cells)}." for stated, cells in found.items()]


def missing_table(collection: Collection) -> Table:
    """Tabulate the networks that have no result, with the reasons."""
    rows = [
        (cell.name, run.path.name, run.missing)
        for cell in collection.cells
        for run in cell.runs
        if run.missing
    ]
    caption = "Networks without a result"
    return Table(("cell", "run", "why"), rows, words=(0, 1, 2), caption=caption)
