"""Load a sweep file and check all that it states, before any of its cells is trained.

A sweep file defines `get_sweep(argument)`, which returns a dict with the keys of KINDS: `title`;
`seeds`, the number of seeds per cell; `cells`, {name: [experiment, key=value, ...]}; `after`, the
EVALUATIONS to run in each finished folder; and what the report reads (see
`experiments/sweeps/degradation.py`).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cnn_archs.config_files import EXPERIMENTS, call_file, locate_file, split_argument
from cnn_archs.config_keys import unknown_message
from cnn_archs.data.datasets.sources import EXTRA_TEST_SPLITS
from cnn_archs.errors import ConfigError
from cnn_archs.knobs import check_value

SWEEPS = EXPERIMENTS / "sweeps"
EVALUATIONS = ("robustness",)  # that `after` may name
REQUIRED = ("title", "seeds", "cells")
Texts = tuple[str, ...]
KINDS: dict[str, Any] = {
    "title": str,
    "notes": str,
    "seeds": Annotated[int, "from 1 to 10000"],
    "cells": Mapping[str, Texts],
    "after": Texts,
    "comparisons": tuple[Mapping[str, str], ...],
    "x": Literal["", "depth", "macs", "params"],
    "groups": Mapping[str, Texts],
    "columns": Texts,
    "reach": tuple[Mapping[str, str | Annotated[float, "from 0 to 1"]], ...],
}
COMPARISON = ("says", "higher", "lower", "metric")
REACH = ("metric", "level")
METRIC_NAMES = ("loss", "top1_error", "top5_error")


def load_sweep(file: str) -> dict[str, Any]:
    """Load the sweep `file`, NAME[:argument] or PATH.py[:argument], and add the key `file`.

    Raises ConfigError, which names the key, if anything in it is missing, unknown or wrong.
    """
    where, argument = split_argument(file)
    path = locate_file(where, SWEEPS, "sweep")
    stated = call_file(path, argument, "get_sweep")
    at = f"--config: {path}"
    if not isinstance(stated, dict):
        raise ConfigError(f"{at}: get_sweep returns {type(stated).__name__}, not a dict")
    check_keys(f"{at}: get_sweep", stated, KINDS, REQUIRED)
    checked = {key: check_value(f"{at}: {key}", stated[key], KINDS[key]) for key in stated}
    check_cells(at, checked["cells"])
    for name in checked.get("after", ()):
        if name not in EVALUATIONS:
            raise ConfigError(unknown_message(f"{at}: after", name, list(EVALUATIONS)))
    for name, cells in checked.get("groups", {}).items():
        check_names(f"{at}: groups[{name!r}]", cells, checked["cells"])
    for i, comparison in enumerate(checked.get("comparisons", ())):
        here = f"{at}: comparisons[{i}]"
        check_keys(here, comparison, COMPARISON, COMPARISON)
        check_names(here, (comparison["higher"], comparison["lower"]), checked["cells"])
    for i, reach in enumerate(checked.get("reach", ())):
        check_keys(f"{at}: reach[{i}]", reach, REACH, REACH)
        if isinstance(reach["level"], str) or not isinstance(reach["metric"], str):
            raise ConfigError(f"{at}: reach[{i}] must be dict(metric=text, level=number)")
    for metric in stated_metrics(checked):
        if not re.fullmatch(r"\w+\.(loss|top1_error|top5_error|aux_\w+_error)", metric):
            raise ConfigError(f"{at}: {metric!r} is not a metric, like test.top1_error")
    return {**checked, "file": path.stem + (f":{argument}" if argument else "")}


def check_keys(
    where: str, stated: Mapping[str, Any], known: Iterable[str], required: Iterable[str]
) -> None:
    """Raise ConfigError for a key of `stated` that is not `known`, or a `required` one missing."""
    for key in stated:
        if key not in known:
            raise ConfigError(unknown_message(where, str(key), list(known), what="key"))
    for key in required:
        if key not in stated:
            raise ConfigError(f"{where}: does not define {key}")


def check_cells(where: str, cells: Mapping[str, Texts]) -> None:
    """Raise ConfigError unless there are cells, whose names can be those of folders.

    A cell sets no seeds: its runs have those of the sweep.
    """
    if not cells:
        raise ConfigError(f"{where}: cells is empty")
    for name, words in cells.items():
        if not isinstance(name, str) or not name.isprintable() or Path(name).name != name:
            raise ConfigError(f"{where}: the cell {name!r} cannot be the name of a folder")
        if name in (".", "..") or not words:
            raise ConfigError(f"{where}: the cell {name!r} must be [experiment, key=value, ...]")
        check_overrides(f"{where}: cell {name}", words[1:])


def check_overrides(where: str, overrides: Iterable[str]) -> None:
    """Raise ConfigError for an override of the seeds, which a sweep sets itself."""
    for override in overrides:
        key = override.partition("=")[0]
        if key in ("seed", "seeds"):
            raise ConfigError(f"{where}: a sweep sets {key} itself; its seeds are --seeds=N")


def check_names(where: str, names: Texts, cells: Mapping[str, Texts]) -> None:
    """Raise ConfigError for one of `names` that is no cell, or that occurs twice."""
    for i, name in enumerate(names):
        if name not in cells:
            raise ConfigError(unknown_message(where, name, list(cells), what="cell"))
        if name in names[:i]:
            raise ConfigError(f"{where}: {name} is named twice")


def stated_metrics(sweep: Mapping[str, Any]) -> list[str]:
    """List the metrics that a sweep names."""
    rows = (*sweep.get("comparisons", ()), *sweep.get("reach", ()))
    return [*sweep.get("columns", ()), *(row["metric"] for row in rows)]


def check_metrics(sweep: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ConfigError for a metric that none of the cells it is for will have.

    configs: of the cells that are trained, as nested dicts. Other cells are not checked.
    """
    for metric in stated_metrics({**sweep, "comparisons": ()}):
        if not any(has_metric(config, metric) for config in configs.values()):
            raise ConfigError(f"{sweep['file']}: no cell has the metric {metric}")
    for comparison in sweep.get("comparisons", ()):
        for name in (comparison["higher"], comparison["lower"]):
            if name in configs and not has_metric(configs[name], comparison["metric"]):
                raise ConfigError(
                    f"{sweep['file']}: {comparison['says']}: the cell {name} has no metric "
                    f"{comparison['metric']}"
                )


def has_metric(config: Mapping[str, Any], metric: str) -> bool:
    """Return whether a run of `config`, a nested dict, reports `metric`, as `test.top1_error`."""
    split, _, name = metric.partition(".")
    data = config["data"]
    own = ["train", "test", *EXTRA_TEST_SPLITS.get(data["name"], ())]
    own += ["val"] if data["holdout"] else []
    averaged = [f"{s}_average" for s in own] if config["average"]["name"] != "none" else []
    has_name = name in METRIC_NAMES or bool(config["model"].get("aux"))
    return has_name and split in ("train_eval", *own, *averaged)
