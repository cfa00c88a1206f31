"""Estimate the cost of a sweep's cells from the networks' sizes and the speed of earlier runs."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs.models import Network
from cnn_archs.models.summary import summarize, totals
from cnn_archs.report.table import Table
from cnn_archs.result_files import read_result
from cnn_archs.runtime.console import format_duration
from cnn_archs.runtime.files import read_errors


class MeasuredSpeed(NamedTuple):
    """The multiply-adds of a trained network, and its images per second."""

    macs: int
    images_per_second: float


class TrainingCost(NamedTuple):
    """The cost of training one network.

    steps: None if the number of images is not known. seconds: None if no speed is known.
    """

    params: int
    macs: int
    steps: int | None
    seconds: float | None


def measured_speeds(files: Iterable[Path], device: str) -> list[MeasuredSpeed]:
    """Read the speeds of the result files that were made on `device`.

    device: a description as in a result, such as "1 x NVIDIA H200".
    """
    found = []
    for path in files:
        result = read_result(path)
        with read_errors(path):
            if result.get("device") == device and result.get("macs"):
                found.append(MeasuredSpeed(result["macs"], result["images_per_second"]))
    return found


def training_cost(
    model: Network,
    image_shape: tuple[int, int, int],
    steps: int | None,
    batch_size: int,
    known: Sequence[MeasuredSpeed],
) -> TrainingCost:
    """Estimate the cost of training `model` for `steps` steps from the `known` speeds."""
    size = totals(summarize(model, image_shape))
    if steps is None or not known:
        return TrainingCost(size["params"], size["macs"], steps, None)
    seconds = steps * batch_size * size["macs"] / expected_mac_rate(size["macs"], known)
    return TrainingCost(size["params"], size["macs"], steps, seconds)


def expected_mac_rate(macs: int, known: Sequence[MeasuredSpeed]) -> float:
    """Estimate the multiply-adds per second of a network with `macs` multiply-adds per image.

    The estimate is the mean of the known rates, weighted by the inverse square of the distance in
    size, since small networks are slower than their multiply-adds suggest.
    """
    near = [1 / (0.1 + abs(math.log(s.macs / macs))) ** 2 for s in known]
    logs = [math.log(s.images_per_second * s.macs) for s in known]
    return math.exp(sum(w * x for w, x in zip(near, logs, strict=True)) / sum(near))


def cost_table(rows: Sequence[tuple[str, int, TrainingCost, str]], device: str) -> str:
    """Format the cells for the terminal. rows: (cell, seeds, cost per seed, state)."""
    heads = ("cell", "seeds", "parameters", "multiply-adds", "steps", "about", "state")
    lines = []
    for name, seeds, one, state in rows:
        steps = "?" if one.steps is None else f"{one.steps:,}"
        seconds = None if one.seconds is None else seeds * one.seconds
        size = (f"{one.params:,}", f"{one.macs:,}")
        lines.append((name, str(seeds), *size, steps, format_duration(seconds), state))
    every = [None if one.seconds is None else seeds * one.seconds for _, seeds, one, _ in rows]
    whole = None if None in every else sum(filter(None, every))
    about = f"all steps, one cell after another on {device}: about {format_duration(whole)}"
    basis = "estimated from networks of similar size on that device"
    return f"{Table(heads, lines).text()}\n\n{about}, {basis}"


def cost_document(rows: Sequence[tuple[str, int, TrainingCost, str]]) -> list[dict[str, Any]]:
    """Return the document that `sweep --dry_run --format=json` prints."""
    return [
        {"cell": name, "seeds": seeds, **one._asdict(), "state": state}
        for name, seeds, one, state in rows
    ]
