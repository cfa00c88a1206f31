"""Read the values that a claim is about from the files of results/.

A result counts only if its config is that of the claim's experiment, except for keys whose role
changes no outcome, and if it was trained to its end and tested with the claim's protocol. A claim
about a classical method names its row; the result must have that row's settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_archs import config as configs
from cnn_archs import roles
from cnn_archs.claims.checks import recipes
from cnn_archs.classical.rows import ROWS, describe
from cnn_archs.errors import UserError, first_line
from cnn_archs.published_weights import known_weights, read_evaluation
from cnn_archs.report.read_runs import find_records
from cnn_archs.result_files import read_result
from cnn_archs.runtime.files import read_errors

FEWEST_SEEDS = 3  # networks that a mean needs


class Refused(Exception):
    """A file is no evidence, or there is too little of it; the message says why."""


def check_files(folder: Path) -> None:
    """Read every result in `folder`, if there is such a folder, also those that no claim names.

    Raises DataError for the first file that is damaged, or that does not fit to the others.
    """
    if folder.is_dir():
        list(find_records(folder))
        for known in known_weights():
            read_evaluation(known, folder)


def values_of_seeds(
    source: Mapping[str, str], metric: str, protocol: str, folder: Path
) -> dict[int, float]:
    """Return {seed: value}, ordered by seed. metric: a name such as `test.loss`.

    source: {experiment, result}, or {row, result}. The result is a file in `folder`, or a pattern
    such as `mnist/mlp_seed*.json` for several files with one or more seeds each. Raises Refused if
    there is no file, if one has another config, if a seed occurs twice, or if there are fewer than
    FEWEST_SEEDS networks; of a method that draws no random numbers one is enough. Raises DataError
    if a file is damaged.
    """
    paths = sorted(folder.glob(source["result"]))
    if not paths:
        raise Refused(f"there is no {source['result']}")
    found: dict[int, float] = {}
    for path in paths:
        for seed, value in values_in_file(path, source, metric, protocol).items():
            if seed in found:
                raise Refused(f"{source['result']}: seed {seed} occurs twice")
            found[seed] = value
    if len(found) < (FEWEST_SEEDS if draws_random_numbers(source) else 1):
        raise Refused(
            f"{source['result']}: {len(found)} of the {FEWEST_SEEDS} networks that are required"
        )
    return {seed: found[seed] for seed in sorted(found)}


def draws_random_numbers(source: Mapping[str, str]) -> bool:
    """Return whether the networks, or the method, that a claim names have seeds."""
    return "row" not in source or ROWS[source["row"]].draws_random_numbers


def values_in_file(
    path: Path, source: Mapping[str, str], metric: str, protocol: str
) -> dict[int, float]:
    """Return {seed: value} of one file. Raises Refused, naming the file, if it does not count."""
    try:
        with read_errors(path):
            result = read_result(path)
            if "row" in source:
                refuse_unless_of_row(result, source["row"], protocol)
            else:
                refuse_unless_evidence(result, source["experiment"], protocol)
            split, _, name = metric.partition(".")
            if split not in result:
                raise Refused(f"it has no {split}")
            pairs = zip(result.get("seeds", [0]), result[split][name], strict=True)
            return {seed: float(value) for seed, value in pairs}
    except Refused as e:
        raise Refused(f"{path.parent.name}/{path.name}: {e}") from e


def shorter_length(experiment: str, shorter: str) -> str:
    """Return the length of an experiment's shorter form: `16,000 of 64,000 steps`.

    Raises ValueError unless the two differ in their length alone, with the rate falling after the
    same parts of it.
    """
    whole, part = (configs.to_plain_dict(recipes.config(e)) for e in (experiment, shorter))
    unit = "steps" if whole["steps"] else "epochs"
    length, full = part[unit], whole[unit]
    if not 0 < length < full:
        raise ValueError(f"{shorter} is not shorter than {experiment}")
    expected = {**whole, unit: length}
    if "boundaries" in whole["schedule"]:
        falls = [at * length / full for at in whole["schedule"]["boundaries"]]
        expected["schedule"] = {**whole["schedule"], "boundaries": falls}
    if other := roles.outcome_differences(expected, part):
        raise ValueError(f"{shorter} differs from {experiment} in {', '.join(other)}")
    return f"{length:,.10g} of {full:,.10g} {unit}"


def refuse_unless_evidence(result: Mapping[str, Any], experiment: str, protocol: str) -> None:
    """Raise Refused unless `result` is a complete run of `experiment`, tested with `protocol`."""
    expected = refuse_unless_complete(result, experiment)
    refuse_other_tests(result, expected["model"]["name"], protocol)


def refuse_unless_complete(result: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """Return the config of `experiment`. Raises Refused unless `result` is of all of its steps."""
    made = result.get("made", {}).get("config")
    if made is None:
        raise Refused("it does not record its config")
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
        raise Refused("it does not record its epochs")
    if expected["epochs"] and result["epochs"] != expected["epochs"]:
        raise Refused(f"{result['epochs']:g} of {expected['epochs']:g} epochs")
    return expected


def refuse_unless_of_row(result: Mapping[str, Any], row: str, protocol: str) -> None:
    """Raise Refused unless `result` is of the row `row` of figure 9, with all training images.

    Networks below the row must be of a complete run of its experiment.
    """
    made = result.get("made", {}).get("row", {})
    expected = describe(ROWS[row], examples=0)
    if other := [key for key, value in expected.items() if made.get(key) != value]:
        raise Refused(f"its settings are not those of the row {row}: {', '.join(other)}")
    if result["dataset"] != "mnist":
        raise Refused(f"it is of {result['dataset']}, not of mnist")
    if ROWS[row].network:
        refuse_unless_complete(result, ROWS[row].network)
    refuse_other_tests(result, row, protocol)


def refuse_other_tests(result: Mapping[str, Any], name: str, protocol: str) -> None:
    """Raise Refused unless `result` is of the network or row `name`, with each seed once."""
    if result["name"] != name:
        raise Refused(f"it is of {result['name']}")
    if result["protocol"] != protocol:
        raise Refused(f"its protocol is {result['protocol']}, not {protocol}")
    seeds = result.get("seeds", [0])
    if len(set(seeds)) != len(seeds):
        raise Refused("a seed occurs twice")
