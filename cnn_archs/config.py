"""Load the config of an experiment or of a run, complete and locked.

An experiment is given as `--config=PATH.py[:argument]`, or as `--config=NAME[:argument]` if it is
installed; `--config.section.key=value` overrides any key. Naming another optimizer, schedule,
model, ... resets that section to the defaults of the new one. Every mistake is a ConfigError of
one line.
"""

import functools
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from cnn_archs.config_keys import (
    flatten,
    parse_value,
    rename_old_keys,
    split_override,
    unknown_message,
)
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.runtime.files import read_errors
from cnn_archs.runtime.json_files import read_json

# A loaded config. Only experiment.py and experiment_inputs.py read its keys.
Config: TypeAlias = ConfigDict
EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"


def load_config(experiment: str, overrides: list[str]) -> ConfigDict:
    """Return the complete, locked config of `experiment` with `overrides` applied in order.

    experiment: NAME[:argument] or PATH.py[:argument]. overrides: `section.key=value`. Raises
    ConfigError for an unknown name or key, and for a value that is wrong by itself.
    """
    path, argument = locate_file(experiment)
    config = call_entry(execute_file(path), argument)
    complete_model(config)
    pairs = [split_override(override) for override in overrides]
    kinds = ("model", *base_module().CHOICES)
    names = {f"{kind}.name": kind for kind in kinds}
    for key, text in pairs:
        if key in names:
            reset_section(config, names[key], text)
    for key, text in pairs:
        if key not in names:
            set_override(config, key, text)
    lengths = {"epochs", "steps"} & {key for key, _ in pairs}
    if lengths == {"steps"}:
        config.epochs = 0.0
    elif lengths == {"epochs"}:
        config.steps = 0
    config.lock()
    check_values(config)
    return config


def complete_model(config: ConfigDict) -> None:
    """Add the fields of its flax module to the model of an experiment, with their defaults."""
    from cnn_archs import models

    stated = config.model.to_dict()
    name = stated["name"]
    if name not in models.MODELS:
        raise ConfigError(unknown_message("model.name", name, list(models.MODELS)))
    fields = models.fields(name)
    for key in stated.keys() - fields.keys() - {"name"}:
        raise ConfigError(unknown_message(f"model {name}", key, list(fields), what="field"))
    with config.unlocked():
        config.model = ConfigDict(merge_fields(fields, stated))


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
    tree = read_json(path)
    with read_errors(path):
        config = complete_config(tree).lock()
        check_model_types(config.model.to_dict())
    try:
        check_values(config)
    except ConfigError as e:
        raise DataError(f"{path} is damaged: {e}") from e
    return config


def check_model_types(model: Mapping[str, Any]) -> None:
    """Raise TypeError for a field of another type than its default, ValueError without a model."""
    from cnn_archs import models

    if model["name"] not in models.MODELS:
        raise ValueError(f"there is no model {model['name']!r}")
    for key, default in models.fields(model["name"]).items():
        alike = {float: (int, float), tuple: (list, tuple)}.get(type(default), (type(default),))
        if default is not None and not isinstance(model[key], alike):
            raise TypeError(f"model.{key} is {model[key]!r:.40}")


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


def locate_file(
    experiment: str, folder: Path = EXPERIMENTS, what: str = "experiment"
) -> tuple[Path, str | None]:
    """Return (file, argument) for `PATH.py[:argument]`, or for `NAME[:argument]` in `folder`.

    Raises ConfigError if there is no such file.
    """
    where, _, argument = experiment.partition(":")
    path = Path(where)
    if path.suffix != ".py" and path.parent == Path("."):
        path = folder / f"{where}.py"
        names = sorted(p.stem for p in folder.glob("[!_]*.py") if p.stem != "base")
        if where not in names:
            raise ConfigError(unknown_message("--config", where, names, what=what))
    if not path.is_file():
        raise ConfigError(f"--config: there is no file {path}")
    return path, argument or None


@functools.cache
def base_module() -> ModuleType:
    """Return experiments/base.py as a module, executed once."""
    return execute_file(EXPERIMENTS / "base.py")


def execute_file(path: Path) -> ModuleType:
    """Execute the Python file `path` as a module. Raises ConfigError for any error inside it."""
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    if str(EXPERIMENTS.parent) not in sys.path:  # for `from experiments import base`
        sys.path.append(str(EXPERIMENTS.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise ConfigError(f"--config: {path}: {type(e).__name__}: {first_line(e)}") from e
    return module


def call_entry(module: ModuleType, argument: str | None, function: str = "get_config") -> Any:
    """Call get_config() in `module`, or get_config(argument), or the given `function` instead.

    Raises ConfigError if there is no such function, and for any error inside it.
    """
    if not hasattr(module, function):
        raise ConfigError(f"--config: {module.__file__} has no function {function}")
    try:
        get = getattr(module, function)
        return get() if argument is None else get(argument)
    except Exception as e:
        what = "" if argument is None else f" with argument {argument!r}"
        raise ConfigError(f"--config: {module.__file__}{what}: {first_line(e)}") from e


def set_override(config: ConfigDict, key: str, text: str) -> None:
    """Set `key` of `config` to `text`, parsed as the type of the current value."""
    node: Any = config
    *sections, leaf = key.split(".")
    for section in sections:
        node = node.get(section) if isinstance(node, ConfigDict) else None
    if not isinstance(node, ConfigDict) or leaf not in node:
        keys = list(flatten(config.to_dict()))
        raise ConfigError(unknown_message("--config", key, keys, what="key"))
    if isinstance(node[leaf], ConfigDict):
        raise ConfigError(f"--config.{key} is a section: set one of its keys")
    node[leaf] = parse_value(key, text, node[leaf])


def check_values(config: ConfigDict) -> None:
    """Raise ConfigError for a value that is wrong whatever the dataset and the model are."""
    for key in ("seeds", "eval_batch_size", "log_every", "keep"):
        if config[key] < 1:
            raise ConfigError(f"--config.{key}={config[key]}: must be at least 1")
    if config.data.batch_size < 1:
        raise ConfigError(f"--config.data.batch_size={config.data.batch_size}: must be at least 1")
    for key in ("eval_every", "checkpoint_every"):
        if config[key] <= 0:
            raise ConfigError(f"--config.{key}={config[key]}: must be more than 0")
    if config.diagnose_every < 0:
        raise ConfigError(f"--config.diagnose_every={config.diagnose_every}: cannot be negative")
    if len(config.profile) != 2 or not 0 <= config.profile[0] <= config.profile[1]:
        raise ConfigError("profile: the first step and the step after the last, like (10, 20)")
    if config.mesh.model < 1 or config.mesh.data < 1 and config.mesh.data != -1:
        raise ConfigError("mesh: numbers of devices; data may be -1, for all remaining ones")
    if config.epochs < 0 or config.steps < 0 or config.seed < 0:
        raise ConfigError("epochs, steps and seed cannot be negative")
    if not config.epochs and not config.steps:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    if config.epochs and config.steps:
        raise ConfigError("epochs and steps both set the length of training: one of them must be 0")
    if len(config.data.pixel_range) != 2:
        raise ConfigError(
            "data.pixel_range: the values that pixels 0 and 255 become, like (0.0, 1.0)"
        )
    if len(config.data.image_shape) != 3 or min(config.data.image_shape) < 0:
        raise ConfigError("data.image_shape: height, width, channels, like (224, 224, 3)")
    if any(config.data.image_shape) and not all(config.data.image_shape):
        raise ConfigError(
            "data.image_shape: all three numbers, or (0, 0, 0) for the shape of the dataset"
        )
    if config.matmul_precision not in ("default", "high", "highest"):
        raise ConfigError(
            unknown_message(
                "matmul_precision", config.matmul_precision, ["default", "high", "highest"]
            )
        )
