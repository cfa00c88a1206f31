"""What the files of results/ say about a claim: the values of its networks.

A result counts only if its config is that of the experiment that the claim names, but for keys
whose role changes no outcome, if it was run to its end and tested as the claim says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_archs import config as configs
from cnn_archs import roles
from cnn_archs.claims.checks import recipes
from cnn_archs.errors import UserError, first_line
from cnn_archs.run_dir import read_result
from cnn_archs.runtime.files import read_errors

SEEDS = 3  # networks that a mean is of, at least


class Refused(Exception):
    """Why a file is no evidence, or not enough."""


def values(source: Mapping[str, str], metric: str, protocol: str, folder: Path) -> list[float]:
    """One value a seed, by seed. metric: `test.loss`.

    source: {experiment, result}; the latter is a file in `folder`, or a pattern of several files
    with a seed or more each, `mnist/mlp_seed*.json`. Refused where there is none, where one is of
    another config, where a seed counts twice, or where they are fewer than SEEDS networks;
    DataError where one is damaged.
    """
    paths = sorted(folder.glob(source["result"]))
    if not paths:
        raise Refused(f"there is no {source['result']}")
    found: dict[int, float] = {}
    for path in paths:
        for seed, value in values_of(path, source["experiment"], metric, protocol).items():
            if seed in found:
                raise Refused(f"{source['result']}: seed {seed} counts twice")
            found[seed] = value
    if len(found) < SEEDS:
        raise Refused(f"{source['result']}: {len(found)} of the {SEEDS} networks that are needed")
    return [found[seed] for seed in sorted(found)]


def values_of(path: Path, experiment: str, metric: str, protocol: str) -> dict[int, float]:
    """{seed: value} of one file. Refused, by its name, where it is no evidence."""
    try:
        with read_errors(path):
            result = read_result(path)
            check(result, experiment, protocol)
            split, _, name = metric.partition(".")
            if split not in result:
                raise Refused(f"it has no {split}")
            pairs = zip(result["seeds"], result[split][name], strict=True)
            return {seed: float(value) for seed, value in pairs}
    except Refused as e:
        raise Refused(f"{path.parent.name}/{path.name}: {e}") from e


def check(result: Mapping[str, Any], experiment: str, protocol: str) -> None:
    """Refused unless `result` is of that experiment, complete, under that protocol."""
    made = result.get("made", {}).get("config")
    if made is None:
        raise Refused("it does not say with which config it was made")
    try:
        expected = configs.to_plain_dict(recipes.config(experiment))
        complete = configs.to_plain_dict(configs.complete_config(made))
    except (KeyError, UserError) as e:
        raise Refused(f"its config is of another version ({first_line(e)})") from e
    other = roles.outcome_differences(expected, complete)
    if other:
        raise Refused(f"its config is not that of {experiment}: {', '.join(other)}")
    if expected["steps"] and result["steps"] != expected["steps"]:
        raise Refused(f"{result['steps']:,} of {expected['steps']:,} steps")
    if expected["epochs"] and "epochs" not in result:
        raise Refused("it does not say how many epochs")
    if expected["epochs"] and result["epochs"] != expected["epochs"]:
        raise Refused(f"{result['epochs']:g} of {expected['epochs']:g} epochs")
    if result["name"] != expected["model"]["name"]:
        raise Refused(f"it is of {result['name']}")
    if result["protocol"] != protocol:
        raise Refused(f"its protocol is {result['protocol']}, not {protocol}")
    if len(set(result["seeds"])) != len(result["seeds"]):
        raise Refused("a seed counts twice")
