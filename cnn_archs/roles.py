"""Compares configs, as nested dicts of JSON values, by the roles of the keys in which they differ.

`experiments/base.py` gives each knob its role.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cnn_archs.config import base_module, flatten
from cnn_archs.errors import ConfigError


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys, `section.key`, in which two configs differ."""
    found = []
    for key in sorted({*a, *b}):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            found += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append(f"{prefix}{key}")
    return found


def outcome_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Returns the keys in which two configs differ and that decide what is trained, or how long."""
    return keep_other_roles(differences(a, b), base_module().OUTCOME_UNCHANGED, b)


def check_resumable(workdir: Path, saved: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raises ConfigError if `config` may not resume the run in `workdir`, made with `saved`."""
    changed = keep_other_roles(differences(saved, config), base_module().RESUMABLE, config)
    if changed:
        raise ConfigError(
            f"{workdir} holds a run with another config ({', '.join(changed)}); use another "
            "--workdir or remove that one"
        )


def changes_outcome(key: str, config: Mapping[str, Any]) -> bool:
    """Whether the knob `key` decides what is trained, or for how long."""
    return bool(keep_other_roles([key], base_module().OUTCOME_UNCHANGED, config))


def keep_other_roles(
    keys: list[str], roles: Collection[str], config: Mapping[str, Any]
) -> list[str]:
    """Returns those of `keys` whose role in `config` is none of `roles`."""
    return [key for key in keys if base_module().role(key, config) not in roles]


def program_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Returns the keys in which two configs differ and that are part of a compiled program.

    Seeds and the schedule's learning rate are arguments of the program.
    """
    return [key for key in differences(a, b) if not is_program_argument(key, b)]


def program_key(config: Mapping[str, Any]) -> str:
    """Returns a text that is equal for two configs without `program_differences`."""
    kept = {
        key: value for key, value in flatten(config).items() if not is_program_argument(key, config)
    }
    return json.dumps(kept, sort_keys=True)


def is_program_argument(key: str, config: Mapping[str, Any]) -> bool:
    return key == "schedule.learning_rate" or base_module().role(key, config) == "replicate"
