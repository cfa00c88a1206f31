"""The recipe that a run is compared with: what the run recorded, or what its command line says."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from cnn_archs.config_files import DEFAULT_EXPERIMENT, EXPERIMENTS, split_argument
from cnn_archs.config_keys import flatten, rename_old_override
from cnn_archs.errors import UserError, escaped
from cnn_archs.report.printed_values import stated_config
from cnn_archs.report.runs import CellRecord, RunRecord


def cell_of_run(run: RunRecord, name: str) -> CellRecord:
    """Make a cell of one run, with the recipe that the run recorded.

    Older runs recorded their command line only: then the recipe is that of the experiment in it,
    if that is an installed one.
    """
    if record := run.environment.get("recipe"):
        changed = {rename_old_override(key): value for key, value in record["changed"].items()}
        recipe = {k: v for k, v in {**flatten(run.config), **changed}.items() if v is not None}
        return CellRecord(escaped(name), escaped(record["experiment"]), (), [run], recipe)
    experiment, overrides = experiment_of_command(run.environment.get("command", []))
    recipe = known_recipe(experiment) if experiment else {}
    return CellRecord(escaped(name), escaped(experiment), overrides, [run], recipe)


def experiment_of_command(command: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the experiment and the overrides of the command line of a training.

    The experiment is NAME[:argument] if it is installed, FILE.py[:argument] if it is not, and "" if
    the command trained nothing or had a config that is of no experiment.
    """
    if command[:1] != ["cnn_archs.train"] and command[1:2] != ["train"]:
        return "", ()
    experiment, overrides = DEFAULT_EXPERIMENT, []
    for before, argument in pairwise(["", *command]):
        key, equals, value = argument.removeprefix("--").partition("=")
        if before == "--config":
            experiment = argument
        elif key == "config" and equals:
            experiment = value
        elif key.startswith("config."):
            overrides.append(rename_old_override(f"{key.removeprefix('config.')}={value}"))
    if command[0] == "cnn_archs.train" and experiment == "config":  # it was given as an object
        return "", tuple(overrides)
    where, argument_of = split_argument(experiment)
    if Path(where).parent.name == EXPERIMENTS.name:  # the folder of the installed ones
        return plain_experiment(experiment), tuple(overrides)
    name = Path(where).name + (f":{argument_of}" if argument_of else "")
    return name, tuple(overrides)


def known_recipe(experiment: str) -> dict[str, Any]:
    """Return the keys that an installed experiment states, {section.key: value}; {} if it is none.

    A file that a run names is never executed.
    """
    if split_argument(experiment)[0].endswith(".py"):
        return {}
    try:
        return stated_config(experiment)
    except UserError:
        return {}


def plain_experiment(experiment: str) -> str:
    """Shorten `experiments/x.py:argument` to `x:argument`."""
    path, argument = split_argument(experiment)
    return Path(path).name.removesuffix(".py") + (f":{argument}" if argument else "")
