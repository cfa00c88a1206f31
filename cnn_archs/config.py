"""From a command line to a complete, locked config.

`--config=PATH.py[:argument]` or `--config=NAME[:argument]` of an installed experiment, then
`--config.section.key=value` for any key. Naming another optimizer, schedule, model, ... starts
that section afresh from its own defaults. Every mistake is a ConfigError of one line.
"""

import ast
import functools
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from cnn_archs.errors import ConfigError, closest_word, first_line
from cnn_archs.runtime.files import read_errors, read_json

Config: TypeAlias = ConfigDict  # what `load` and `read` return; only experiment.py looks into it
EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
# Key or section in the configs of older commits -> its name today, "" where it is gone.
OLD_KEYS = {
    "colour": "color",
    "data.damaged": "data.on_corrupt",
    "data.shrink": "data.downsample",
    "name": "",
}


def load_config(experiment: str, overrides: list[str]) -> ConfigDict:
    """The config of `experiment` with `overrides` (`a.b=value`, in order), complete and locked."""
    from cnn_archs import models

    path, argument = locate_file(experiment)
    config = call_entry(execute_file(path), argument)
    choices_of = base_module().CHOICES
    if config.model.name not in models.MODELS:
        raise ConfigError(unknown_message("model.name", config.model.name, list(models.MODELS)))
    stated = config.model.to_dict()
    fields = models.fields(stated["name"])
    for key in stated.keys() - fields.keys() - {"name"}:
        raise ConfigError(
            unknown_message(f"model {stated['name']}", key, list(fields), what="field")
        )
    with config.unlocked():
        config.model = ConfigDict(merge_fields(fields, stated))

    pairs = [split_override(o) for o in overrides]
    kinds = ("model", *choices_of)
    for key, text in pairs:
        kind, _, rest = key.partition(".")
        if rest == "name" and kind in kinds:
            choices = models.MODELS if kind == "model" else choices_of[kind]
            if text not in choices:
                raise ConfigError(unknown_message(key, text, list(choices)))
            fresh = (
                {"name": text, **models.fields(text)}
                if kind == "model"
                else base_module().section(kind, text)
            )
            with config.unlocked():
                config[kind] = ConfigDict(fresh)
    for key, text in pairs:
        if key not in {f"{kind}.name" for kind in kinds}:
            set_override(config, key, text)
    lengths = {"epochs", "steps"} & {key for key, _ in pairs}
    if len(lengths) == 1:  # how long it is, said in one way, is not said in the other
        config["epochs" if "steps" in lengths else "steps"] = 0.0 if "steps" in lengths else 0
    config.lock()
    check_values(config)
    return config


def merge_fields(fields: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """`fields` with what is `stated`; of a field that is a table, with its stated rows."""
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
    """Reads the config.json of a run, by this or an older commit; complete and locked.

    DataError where the file is damaged.
    """
    tree = read_json(path)
    with read_errors(path):
        return complete_config(tree).lock()


def rename_old_keys(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Renames the OLD_KEYS of a config, or of its section `prefix`, as an older commit saved it."""
    renamed = {}
    for key, value in saved.items():
        if isinstance(value, Mapping):
            value = rename_old_keys(value, f"{prefix}{key}.")
        if new := OLD_KEYS.get(f"{prefix}{key}", key):
            renamed[new.rpartition(".")[2]] = value
    return renamed


def rename_old_override(override: str) -> str:
    """Renames the key of `section.key=value`, or of `section.key`, as an older commit took it."""
    for old, new in OLD_KEYS.items():
        if new and re.match(rf"{re.escape(old)}(\.|=|$)", override):
            return new + override.removeprefix(old)
    return override


def complete_config(saved: Mapping[str, Any]) -> ConfigDict:
    """Brings a config that an older commit may have saved to the keys of today.

    Keys that are newer than `saved` get their defaults; a section that is newer is the first of its
    choices. KeyError, TypeError, ValueError or AttributeError where `saved` is no config.
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
            raise TypeError(f"{key} is no section")
    return full


def to_plain_dict(config: ConfigDict) -> dict[str, Any]:
    """Return `config` as config.json holds it: sections are dicts, and tuples are lists."""
    return json.loads(config.to_json())


def locate_file(
    experiment: str, folder: Path = EXPERIMENTS, what: str = "experiment"
) -> tuple[Path, str | None]:
    """(file, argument) of `path.py[:argument]`, or of `name[:argument]` in `folder`."""
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
    """Returns experiments/base.py, executed once."""
    return execute_file(EXPERIMENTS / "base.py")


def execute_file(path: Path) -> ModuleType:
    """The Python file `path`, executed. Errors inside it are the user's to see, in one line."""
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
    """The file's get_config(), or get_config(argument); or another function of that kind."""
    if not hasattr(module, function):
        raise ConfigError(f"--config: {module.__file__} has no function {function}")
    try:
        get = getattr(module, function)
        return get() if argument is None else get(argument)
    except Exception as e:
        what = "" if argument is None else f" with argument {argument!r}"
        raise ConfigError(f"--config: {module.__file__}{what}: {first_line(e)}") from e


def split_override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--config.{text}: write --config.key=value")
    return key, value


def set_override(config: ConfigDict, key: str, text: str) -> None:
    """Sets config's `a.b.c` to `text`, read as the type that is there."""
    node: Any = config
    *sections, leaf = key.split(".")
    for section in sections:
        node = node.get(section) if isinstance(node, ConfigDict) else None
        if not isinstance(node, ConfigDict):
            raise ConfigError(unknown_message("--config", key, list(flatten(config)), what="key"))
    if not isinstance(node, ConfigDict) or leaf not in node:
        raise ConfigError(unknown_message("--config", key, list(flatten(config)), what="key"))
    if isinstance(node[leaf], ConfigDict):
        raise ConfigError(f"--config.{key} is a section: set one of its keys")
    node[leaf] = parse_value(key, text, node[leaf])


def parse_value(key: str, text: str, present: Any) -> Any:
    """`text` as a value of the type of `present`."""
    kind = type(present)
    try:
        if kind is str:
            return text
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        value = ast.literal_eval(text)
        if kind is tuple:
            return convert_tuple(value, present)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise ValueError
        return value
    except (KeyError, ValueError, SyntaxError):
        wanted = f"a {kind.__name__}, like {present!r}"
        raise ConfigError(f"--config.{key}={text}: wanted {wanted}") from None


def convert_tuple(value: Any, present: tuple) -> tuple:
    """`value` as a tuple with elements of the type that `present` has."""
    elements = value if isinstance(value, tuple | list) else (value,)
    kind = type(present[0]) if present else float
    if not all(type(e) is kind or (kind is float and type(e) is int) for e in elements):
        raise ValueError
    return tuple(kind(e) for e in elements)


def check_values(config: ConfigDict) -> None:
    """What can be found wrong before any data is read."""
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
        raise ConfigError("profile: the first step and the one after the last, like (10, 20)")
    if config.mesh.model < 1 or config.mesh.data < 1 and config.mesh.data != -1:
        raise ConfigError("mesh: numbers of devices; data may be -1, for all that are left")
    if config.epochs < 0 or config.steps < 0 or config.seed < 0:
        raise ConfigError("epochs, steps and seed cannot be negative")
    if not config.epochs and not config.steps:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    if config.epochs and config.steps:
        raise ConfigError("epochs and steps both say how long to train: one of them must be 0")
    if len(config.data.pixel_range) != 2:
        raise ConfigError("data.pixel_range: what pixels 0 and 255 become, like (0.0, 1.0)")
    if len(config.data.image_shape) != 3 or min(config.data.image_shape) < 0:
        raise ConfigError("data.image_shape: height, width, channels, like (224, 224, 3)")
    if any(config.data.image_shape) and not all(config.data.image_shape):
        raise ConfigError("data.image_shape: all three, or (0, 0, 0) for the dataset's")
    if config.matmul_precision not in ("default", "high", "highest"):
        raise ConfigError(
            unknown_message(
                "matmul_precision", config.matmul_precision, ["default", "high", "highest"]
            )
        )


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Returns `config` as {key: value}, with keys as on the command line, such as `data.pad`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        inner = isinstance(value, Mapping | ConfigDict)
        found |= flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def unknown_message(where: str, word: str, words: list[str], what: str = "value") -> str:
    """One line: `where` has no `word`; the nearest of `words`, or all of them."""
    # A right leaf in the wrong section.
    elsewhere = (w for w in words if w.split(".")[-1] == word.split(".")[-1])
    renamed = (w for w in words if w == rename_old_override(word))
    near = next(renamed, None) or closest_word(word, words) or next(elsewhere, None)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(words)}"
    return f"{where}: no {what} {word!r}; {hint}"
