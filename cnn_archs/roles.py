"""Compare configs by the roles of the keys in which they differ.

The configs are nested dicts of JSON values. `experiments/base.py` gives each knob its role.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from cnn_archs.config import base_module
from cnn_archs.config_keys import flatten
from cnn_archs.errors import ConfigError

# Fields of a network that change neither the function of given weights in evaluation nor their
# meaning.
KEEPS_FUNCTION = ("num_classes", "dtype", "remat", "scan_blocks", "bn_group", "initializer", "aux")


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the keys, as `section.key`, in which two configs differ."""
    found = []
    for key in sorted({*a, *b}):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            found += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append(f"{prefix}{key}")
    return found


def outcome_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the differing keys of two configs that affect what is trained, or for how long."""
    return keep_other_roles(differences(a, b), base_module().OUTCOME_UNCHANGED, b)


def check_resumable(workdir: Path, saved: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise ConfigError if `config` may not resume the run in `workdir`, made with `saved`."""
    changed = keep_other_roles(differences(saved, config), base_module().RESUMABLE, config)
    if changed:
        raise ConfigError(
            f"{workdir} holds a run with another config ({', '.join(changed)}); use another "
            "--workdir or remove that one"
        )


def foreign_parts(
    config: Mapping[str, Any], result: Mapping[str, Any], logged: Iterable[int] = ()
) -> str:
    """Return how the files of a run contradict each other, or "".

    config, result: the contents of config.json and result.json; {} if there is no such file.
    logged: the seeds in metrics.jsonl. They do, if a file was copied from another run.
    """
    made = result.get("made", {}).get("config", {})
    if other := common_outcome_differences(made, config):
        return f"result.json is of another config than config.json ({', '.join(other)})"
    if "seed" not in config:
        return ""
    seeds = range(config["seed"], config["seed"] + config.get("seeds", 1))
    if result and list(result["seeds"]) != list(seeds):
        return f"result.json is of seeds {result['seeds']}, the run of {list(seeds)}"
    if foreign := sorted(set(logged) - set(seeds)):
        return f"metrics.jsonl has lines of seeds {foreign}, the run is of {list(seeds)}"
    return ""


def common_outcome_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return `outcome_differences` among the keys that both have: older configs have fewer."""
    x, y = flatten(a), flatten(b)
    differing = [key for key in x if key in y and x[key] != y[key]]
    return keep_other_roles(differing, base_module().OUTCOME_UNCHANGED, b)


def changes_outcome(key: str, config: Mapping[str, Any]) -> bool:
    """Return whether the knob `key` affects what is trained, or for how long."""
    return bool(keep_other_roles([key], base_module().OUTCOME_UNCHANGED, config))


def changes_function(field: str) -> bool:
    """Return whether a field of a network changes what given weights compute in evaluation.

    A different number of classes is not among them: it shows in a shape.
    """
    return field not in KEEPS_FUNCTION and "dropout" not in field


def keep_other_roles(
    keys: list[str], roles: Collection[str], config: Mapping[str, Any]
) -> list[str]:
    """Return the `keys` whose role in `config` is not among `roles`."""
    return [key for key in keys if base_module().role(key, config) not in roles]


def program_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the differing keys of two configs whose values are compiled into the program.

    Seeds and the schedule's learning rate are arguments of the program.
    """
    return [key for key in differences(a, b) if not is_program_argument(key, b)]


def program_key(config: Mapping[str, Any]) -> str:
    """Return a string that is equal for configs that have no `program_differences`."""
    kept = {
        key: value for key, value in flatten(config).items() if not is_program_argument(key, config)
    }
    return json.dumps(kept, sort_keys=True)


def is_program_argument(key: str, config: Mapping[str, Any]) -> bool:
    """Return whether `key` is an argument of the compiled program, so that it may differ."""
    return key == "schedule.learning_rate" or base_module().role(key, config) == "replicate"
