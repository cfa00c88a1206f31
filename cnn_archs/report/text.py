"""Format results as text for the terminal, from result documents alone."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.errors import escaped
from cnn_archs.report.table import Table
from cnn_archs.run_dir import RunDir

FEW_STEPS = 200  # a network that has learned nothing by then may only need more of them


def mean_sd(values: Sequence[float], scale: float = 100.0, digits: int = 2) -> str:
    """Format values as `1.23 ± 0.04 (5)`: mean, standard deviation (n - 1) and number of values.

    scale: a factor for the values; by default fractions become percent.
    """
    scaled = [scale * v for v in values]
    mean = statistics.fmean(scaled)
    if len(scaled) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(scaled):.{digits}f} ({len(scaled)})"


def result_table(result: dict[str, Any], classes: int) -> str:
    """Format a result document: one line per split, and per member of an ensemble.

    classes: the number of classes; the top-5 error of less than 6 says nothing and is left out.
    """
    heads: tuple[str, ...] = ("", "images", "top-1 error, %", "top-5 error, %", "loss")
    rows: list[tuple[str, ...]] = []
    labels = {
        "train": "train, running average",
        "train_eval": "train",
        "val": "held out",
        "val_average": "held out, averaged weights",
        "test": "test",
        "test_average": "test, averaged weights",
    }
    networks = result.get("members", [])
    others = [k for k, v in result.items() if is_split_result(v) and k not in labels]
    for split in (*labels, *others):
        if split in result:
            label = labels.get(split, split)
            if networks:
                label += f", ensemble of {len(networks)}"
            rows.append(result_row(label, result[split]))
            rows += [
                result_row(f"  {m['name']}, seed {m['seed']}, {m['workdir']}", m[split])
                for m in networks
            ]
    if classes <= 5:
        heads, *rows = ((*row[:3], *row[4:]) for row in (heads, *rows))
    head = escaped(f"{result['name']} on {result['dataset']}, {format_protocol(result)}")
    if "params" in result:
        head += (
            f": {result['params']:,} parameters, {result['macs']:,} multiply-adds\n"
            f"{result['steps']:,} steps in {result['seconds']:.0f} s without evaluations"
            f"{compilation(result)}, "
            f"{result['images_per_second']:,.0f} images/s on {escaped(result['device'])}"
        )
    return f"{head}\n\n{Table(heads, rows).text()}"


def compilation(result: Mapping[str, Any]) -> str:
    """Return how much of the seconds of a result was compilation, if it is known."""
    seconds = result.get("compile_seconds")
    return "" if seconds is None else f" ({seconds:.0f} s of it compiling)"


def guessing_note(result: Mapping[str, Any], classes: int) -> str:
    """Return a line if some networks of a run have learned next to nothing, and "" otherwise.

    Their test error is at least 97 % of what guessing among `classes` classes gives, after an epoch
    or more.
    """
    guessing = 1 - 1 / classes
    errors = dict(zip(result["seeds"], result["test"]["top1_error"], strict=True))
    failed = {seed: e for seed, e in errors.items() if e >= 0.97 * guessing}
    if not failed or result["epochs"] < 1:
        return ""
    *others, last = map(str, failed)
    some = f" of seeds {', '.join(others)} and {last}" if others else f" of seed {last}"
    remedy = "try a lower --config.schedule.learning_rate"
    if result["steps"] < FEW_STEPS:
        remedy = (
            f"{result['steps']:,} steps are few: train for more --config.epochs, or take more "
            "steps in each with a lower --config.data.batch_size"
        )
    return (
        f"the test error{some if len(failed) < len(errors) else ''} is about the "
        f"{100 * guessing:.2f} % that guessing gives: the network has learned next to nothing; "
        f"{remedy}"
    )


def cells_table(done: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the results of a sweep: one line per cell, errors in percent."""
    heads = ("cell", "seeds", "test error, %", "train error, %", "steps", "seconds per seed")
    rows = []
    for name, r in done.items():
        errors = (mean_sd(r[split]["top1_error"]) for split in ("test", "train_eval"))
        seconds = f"{r['seconds'] / len(r['seeds']):,.0f}"
        rows.append((name, str(len(r["seeds"])), *errors, f"{r['steps']:,}", seconds))
    return Table(heads, rows).text()


def robustness_table(found: dict[str, Any]) -> str:
    """Format error against amount, with one table per kind of warp."""
    parts = []
    for name, kind in found.items():
        errors = (mean_sd(of_seeds) for of_seeds in kind["top1_error"])
        heads = (f"{name}, {kind['unit']}", "top-1 error, %")
        rows = [(f"{a:g}", e) for a, e in zip(kind["amounts"], errors, strict=True)]
        parts.append(Table(heads, rows).text())
    return "\n\n".join(parts)


def is_split_result(value: Any) -> bool:
    """Return whether a value of a result document holds the metrics of a split."""
    return isinstance(value, dict) and "top1_error" in value


def split_sizes(result: Mapping[str, Any]) -> dict[str, int]:
    """Return {split: number of images} of the splits that a result is evaluated on."""
    return {
        split: values["examples"]
        for split, values in result.items()
        if is_split_result(values) and "examples" in values
    }


def result_row(label: str, r: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Format a line of `result_table`.

    r: the metrics of a split, each a number or a list with one value per seed.
    """
    values = {k: v if isinstance(v, list) else [v] for k, v in r.items() if k != "examples"}
    errors = (mean_sd(values["top1_error"]), mean_sd(values["top5_error"]))
    return (label, f"{r['examples']:,}", *errors, mean_sd(values["loss"], 1, 4))


def format_protocol(result: Mapping[str, Any]) -> str:
    """Format how the networks were tested: protocol, views, scales and batch statistics."""
    said = f"protocol {result['protocol']}"
    if not result["protocol"].startswith("single"):  # single_320: one view of that size
        said += f", {result['views']} views of each image"
    if "scales" in result:
        said += f", shorter side {', '.join(map(str, result['scales']))}"
    if "precise_stats" in result:
        said += f", batch statistics of {result['precise_stats']:,} training images"
    return said


def files_table(workdir: Path) -> str:
    """Format the paths of a run's files that exist, each with its description."""
    there = [(str(path), what) for path, what in RunDir(workdir).contents()]
    return Table((), there, words=(0, 1)).text()
