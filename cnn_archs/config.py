"""Load the config of an experiment or of a run, complete and locked.

An experiment is given as `--config=PATH.py[:argument]`, or as `--config=NAME[:argument]` if it is
installed; `--config.section.key=value` overrides any key. Naming another optimizer, schedule,
model, ... resets that section to the defaults of the new one. Every mistake is a ConfigError of
one line.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from cnn_archs.config_files import (
    EXPERIMENTS,
    call_file,
    execute_file,
    locate_file,
    split_argument,
)
from cnn_archs.config_keys import (
    flatten,
    rename_old_keys,
    split_override,
    unknown_key_message,
    unknown_message,
)
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.knobs import Kind, check_value, parse_value, without_limits
from cnn_archs.runtime.files import read_errors
from cnn_archs.runtime.json_files import read_json

# A loaded config. Only experiment.py and experiment_inputs.py read its keys.
Config: TypeAlias = ConfigDict
LARGEST_SEED = 2**32 - 1  # jax's random keys are made of 32 bits of a seed


def load_config(experiment: str, overrides: list[str]) -> ConfigDict:
    """Return the complete, locked config of `experiment` with `overrides` applied in order.

    experiment: NAME[:argument] or PATH.py[:argument]. overrides: `section.key=value`. Raises
    ConfigError for an unknown name or key, and for a value that is wrong by itself.
    """
    config = check_config(*load_file(experiment))
    return with_overrides(config, [split_override(override) for override in overrides])


def with_overrides(config: ConfigDict, pairs: Sequence[tuple[str, Any]]) -> ConfigDict:
    """Return `config`, which is changed, locked and with each key of `pairs` set to its value.

    A text is read as on the command line; other values are taken as they are. Raises ConfigError
    for an unknown key, and for a value that is wrong by itself.
    """
    kinds = ("model", *base_module().CHOICES)
    names = {f"{kind}.name": kind for kind in kinds}
    for key, value in pairs:
        if key in names:
            reset_section(config, names[key], check_value(f"--config.{key}", value, str))
    for key, value in pairs:
        if key not in names:
            set_override(config, key, value)
    stated = {key for key, _ in pairs}
    if stated & {"epochs", "steps"} == {"steps"}:
        config.epochs = 0.0
    elif stated & {"epochs", "steps"} == {"epochs"}:
        config.steps = 0
    if stated & {"data.mean", "data.std"} and not stated & {"data.pixel_range"}:
        data = config.data
        if data.std or not isinstance(data.mean, str):  # then pixels count as 0 to 1
            data.pixel_range = (0.0, 1.0)
    config.lock()
    check_values(config)
    return config


def load_file(experiment: str) -> tuple[ConfigDict, str]:
    """Return what `get_config` of the file of `experiment` returns, and the file.

    Raises ConfigError for an unknown name or argument, an error inside the file, or another value.
    """
    where, argument = split_argument(experiment)
    path = locate_file(where, EXPERIMENTS, "experiment")
    config = call_file(path, argument, "get_config")
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"--config: {path}: get_config returns {type(config).__name__}, not base.config(...)"
        )
    return config, str(path)


def check_config(config: ConfigDict, file: str) -> ConfigDict:
    """Return the config of an experiment `file` with all fields of its model, in the right types.

    Raises ConfigError for a key that is unknown or missing, and for a value out of its range.
    """
    tree = config.to_dict()
    for kind, choices in {"model": None, **base_module().CHOICES}.items():
        section = tree.get(kind)
        name = section.get("name") if isinstance(section, dict) else None
        if not isinstance(name, str) or choices is not None and name not in choices:
            raise ConfigError(f"--config: {file}: {kind} has no name that is known: {name!r}")
    tree["model"] = complete_model(tree["model"], f"--config: {file}: ")
    stated, kinds = flatten(tree), flatten(knob_kinds(tree))
    for key in stated.keys() - kinds.keys():
        raise ConfigError(f"{file}: {unknown_key_message(key, list(kinds), {})}")
    for key in kinds.keys() - stated.keys():
        raise ConfigError(f"--config: {file}: {key} is missing: return base.config(...)")
    return ConfigDict(check_leaves(tree, kinds, f"--config: {file}: "))


def check_leaves(tree: dict[str, Any], kinds: Mapping[str, Kind], where: str) -> dict[str, Any]:
    """Return `tree`, which is changed, with each value in the type of its kind.

    kinds: those of the flat keys of `tree`. where: the beginning of messages. Raises ConfigError
    for a value of another kind.
    """
    for key, value in flatten(tree).items():
        *sections, leaf = key.split(".")
        node = functools.reduce(lambda node, part: node[part], sections, tree)
        node[leaf] = check_value(f"{where}{key}", value, kinds[key])
    return tree


def knob_kinds(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kinds of all knobs of a config, in its form: see `knobs.py`."""
    from cnn_archs import models

    base = base_module()
    chosen = {kind: base.KINDS_OF_CHOICES[kind][tree[kind]["name"]] for kind in base.CHOICES}
    chosen["model"] = models.kinds(tree["model"]["name"])
    return {**base.KINDS, **{kind: {"name": str, **kinds} for kind, kinds in chosen.items()}}


def all_keys() -> dict[str, list[str]]:
    """Return {section.leaf: names of choices} of the knobs of all choices and networks."""
    from cnn_archs import models

    networks = {name: models.fields(name) for name in models.MODELS}
    found: dict[str, list[str]] = {}
    for kind, choices in {**base_module().CHOICES, "model": networks}.items():
        for name, leaves in choices.items():
            for leaf in leaves:
                found.setdefault(f"{kind}.{leaf}", []).append(name)
    return found


def complete_model(stated: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a section `model` with all fields of its flax module.

    where: the beginning of messages. Raises ConfigError for an unknown network or field.
    """
    from cnn_archs import models

    name = stated["name"]
    if name not in models.MODELS:
        message = unknown_message("model.name", name, list(models.MODELS))
        raise ConfigError(f"{where}{message}")
    fields = models.fields(name)
    for key in stated.keys() - fields.keys() - {"name"}:
        message = unknown_message(f"model {name}", key, list(fields), what="field")
        raise ConfigError(f"{where}{message}")
    return merge_fields(fields, stated)


def reset_section(config: ConfigDict, kind: str, name: str) -> None:
    """Replace the section `kind` by the choice `name` with its defaults."""
    from cnn_archs import models

    choices = models.MODELS if kind == "model" else base_module().CHOICES[kind]
    if name not in choices:
        raise ConfigError(unknown_message(f"{kind}.name", name, list(choices)))
    if kind == "model":
        fresh = {"name": name, **models.fields(name)}
    else:
        fresh = base_module().section(kind, name)
    with config.unlocked():
        config[kind] = ConfigDict(fresh)


def merge_fields(fields: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """Return `fields` updated by `stated`; fields that are tables (dicts) are updated by row."""
    parts = dict(fields)
    for key, value in stated.items():
        rows = fields.get(key)
        if isinstance(rows, dict):
            if not isinstance(value, dict):
                raise ConfigError(f"model.{key} is a table: {{row: values}}, not {value!r}")
            for row in value.keys() - rows.keys():
                raise ConfigError(unknown_message(f"model.{key}", row, list(rows), what="row"))
            value = {**rows, **value}
        parts[key] = value
    return parts


def read_config(path: Path) -> ConfigDict:
    """Read the config.json of a run of this or an older version, complete and locked.

    Raises DataError if the file is damaged.
    """
    return parse_config(read_json(path), path)


def parse_config(tree: Mapping[str, Any], path: Path) -> ConfigDict:
    """Return the config that `tree`, read from the file `path`, holds, complete and locked.

    It may be of an older version. Raises DataError if it is damaged.
    """
    with read_errors(path):
        config = complete_config(tree).lock()
    try:
        check_knobs(config)
        check_values(config)
    except ConfigError as e:
        raise DataError(f"{path} is damaged: {e}") from e
    return config


def check_knobs(config: ConfigDict) -> None:
    """Raise ConfigError for a value of another type than its knob.

    Its range is not checked: an older version may have trained what is refused today.
    """
    kinds = flatten(knob_kinds(config.to_dict()))
    for key, value in flatten(config.to_dict()).items():
        if key in kinds:
            check_value(key, value, without_limits(kinds[key]))


def complete_config(saved: Mapping[str, Any]) -> ConfigDict:
    """Complete a config that an older version may have saved, so that it has all current keys.

    Keys that are missing in `saved` get their defaults, and a missing section the first of its
    choices. Raises KeyError, TypeError, ValueError or AttributeError if `saved` is not a config.
    """
    from cnn_archs import models

    saved = rename_old_keys(saved)
    full = base_module().config()
    with full.unlocked():
        for kind, choices in base_module().CHOICES.items():
            stated = saved.get(kind)
            if stated and stated["name"] in choices:
                full[kind] = ConfigDict(base_module().section(kind, stated["name"]))
        del full.model
        if isinstance(mean := saved.get("data", {}).get("mean"), list):
            with full.ignore_type():  # full.data.mean is a word
                full.data.mean = tuple(mean)
        full.update(saved)
        if full.model.name in models.MODELS:
            newer = models.fields(full.model.name)
            full.model = ConfigDict(merge_fields(newer, full.model.to_dict()))
    for key in (
        *base_module().CHOICES,
        *(k for k, v in base_module().DEFAULTS.items() if isinstance(v, dict)),
    ):
        if not isinstance(full[key], ConfigDict):
            raise TypeError(f"{key} is not a section")
    return full


def to_plain_dict(config: ConfigDict) -> dict[str, Any]:
    """Return `config` in the form of config.json: sections are dicts, and tuples are lists."""
    return json.loads(config.to_json())


@functools.cache
def base_module() -> ModuleType:
    """Return experiments/base.py as a module, executed once."""
    return execute_file(EXPERIMENTS / "base.py")


def set_override(config: ConfigDict, key: str, value: Any) -> None:
    """Set `key` of `config` to `value`, which is read if it is a text.

    Raises ConfigError if it is of another kind or out of range.
    """
    tree = config.to_dict()
    kinds: dict[str, Kind] = flatten(knob_kinds(tree))
    if key not in kinds:
        if any(other.startswith(f"{key}.") for other in kinds):
            raise ConfigError(f"--config.{key} is a section: set one of its keys")
        raise ConfigError(unknown_key_message(key, list(kinds), all_keys()))
    *sections, leaf = key.split(".")
    node = functools.reduce(lambda node, section: node[section], sections, config)
    read = parse_value if isinstance(value, str) else check_value
    checked = read(f"--config.{key}", value, kinds[key])
    with config.ignore_type():  # data.mean is a word or numbers; its kind has been checked
        node[leaf] = checked


def check_values(config: ConfigDict) -> None:
    """Raise ConfigError for values that do not fit together, whatever the dataset and the model."""
    if not config.epochs and not config.steps:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    if config.epochs and config.steps:
        raise ConfigError("epochs and steps both set the length of training: one of them must be 0")
    if config.seed + config.seeds - 1 > LARGEST_SEED:
        raise ConfigError(
            f"--config.seed={config.seed}: the last of {config.seeds} seeds must be at most "
            f"{LARGEST_SEED}"
        )
