"""What cells would cost: sizes of their networks, and seconds by what such networks took before."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs.models import Network
from cnn_archs.models.summary import summarize, totals
from cnn_archs.report.table import Table
from cnn_archs.run_dir import read_result
from cnn_archs.runtime.console import format_duration
from cnn_archs.runtime.files import read_errors


class Speed(NamedTuple):
    """Of a training that was: multiply-adds of the network, and images a second."""

    macs: int
    images_per_second: float


class Cost(NamedTuple):
    """steps: None where the number of images is not known; seconds: None where no speed is."""

    params: int
    macs: int
    steps: int | None
    seconds: float | None


def speeds(files: Iterable[Path], device: str) -> list[Speed]:
    """Those of the result files that were made on `device`, as a result says it."""
    found = []
    for path in files:
        result = read_result(path)
        with read_errors(path):
            if result.get("device") == device and result.get("macs"):
                found.append(Speed(result["macs"], result["images_per_second"]))
    return found


def cost(
    model: Network,
    image_shape: tuple[int, int, int],
    steps: int | None,
    batch_size: int,
    known: Sequence[Speed],
) -> Cost:
    """Of training `model` for so many steps, at the rate of multiply-adds of what is `known`."""
    size = totals(summarize(model, image_shape))
    if steps is None or not known:
        return Cost(size["params"], size["macs"], steps, None)
    seconds = steps * batch_size * size["macs"] / rate(size["macs"], known)
    return Cost(size["params"], size["macs"], steps, seconds)


def rate(macs: int, known: Sequence[Speed]) -> float:
    """Multiply-adds a second, of one image, for a network of so many.

    A mean of the known ones, which counts them by the inverse square of how far they are in size:
    small networks are slower than their multiply-adds say.
    """
    near = [1 / (0.1 + abs(math.log(s.macs / macs))) ** 2 for s in known]
    logs = [math.log(s.images_per_second * s.macs) for s in known]
    return math.exp(sum(w * x for w, x in zip(near, logs, strict=True)) / sum(near))


def table(rows: Sequence[tuple[str, int, Cost, str]], device: str) -> str:
    """For a person. rows: (cell, seeds, cost of one, state)."""
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
    return f"{Table(heads, lines).text()}\n\n{about}, by what networks near them in size took there"


def document(rows: Sequence[tuple[str, int, Cost, str]]) -> list[dict[str, Any]]:
    """For --format=json."""
    return [
        {"cell": name, "seeds": seeds, **one._asdict(), "state": state}
        for name, seeds, one, state in rows
    ]
