"""How long a run took to a given error, from the log that it left."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Reached(NamedTuple):
    """The first line of the log at which an error was low enough."""

    step: int
    epoch: float


def reach(workdir: Path, metric: str, level: float) -> dict[int, Reached | None]:
    """For each seed of the run, when `metric` was first at or below `level`; None: never.

    metric: `split.value`, like `train.top1_error`, which is the mean over the steps since the last
    line, `log_every` of them. A line of fewer, at a checkpoint, counts together with the next. {}
    where there is no log, or nothing of that split in it.
    """
    split, _, name = metric.partition(".")
    lines = [line for line in read(workdir / "metrics.jsonl") if line["split"] == split]
    return {
        seed: first([line for line in lines if line["seed"] == seed], name, level)
        for seed in sorted({line["seed"] for line in lines})
    }


def first(lines: Sequence[dict[str, Any]], name: str, level: float) -> Reached | None:
    """Of one seed: the first of `lines` up to which enough examples had so low a mean."""
    enough = max(line["examples"] for line in lines)
    total, examples = 0.0, 0
    for line in lines:
        total += line[name] * line["examples"]
        examples += line["examples"]
        if examples < enough:
            continue
        if total / examples <= level:
            return Reached(line["step"], line["epoch"])
        total, examples = 0.0, 0
    return None


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, but for one that a kill cut."""
    lines = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
