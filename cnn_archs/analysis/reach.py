"""How long a run took to a given error, from the log that it left."""

import json
from pathlib import Path
from typing import NamedTuple


class Reached(NamedTuple):
    """The first line of the log at which an error was low enough."""

    step: int
    epoch: float


def reach(workdir: Path, metric: str, level: float) -> dict[int, Reached | None]:
    """For each seed of the run, when `metric` was first at or below `level`; None: never.

    metric: `split.value`, like `train.top1_error`, which is the mean of the steps since the last
    line: it is known every `log_every` steps. {} where there is no log, or nothing of that split
    in it.
    """
    split, _, name = metric.partition(".")
    path = workdir / "metrics.jsonl"
    first: dict[int, Reached | None] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break  # the last line of a run that was killed
        if entry["split"] != split:
            continue
        seed = entry["seed"]
        first.setdefault(seed, None)
        if first[seed] is None and entry[name] <= level:
            first[seed] = Reached(entry["step"], entry["epoch"])
    return first
