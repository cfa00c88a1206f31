"""The keys of a config as text: on the command line, and in runs of older versions.

A key is written `section.key`, such as `data.batch_size`.
"""

import re
from collections.abc import Mapping
from typing import Any

from cnn_archs.errors import ConfigError, closest_word

# Key or section in the configs of older versions -> its name now; "" if it was removed.
OLD_KEYS = {
    "colour": "color",
    "data.damaged": "data.on_corrupt",
    "data.shrink": "data.downsample",
    "name": "",
}

VGG_COLUMNS = {11: "a", 13: "b", 16: "d", 19: "e"}  # layers with weights -> column of table 1
# Word that other libraries or papers use -> key or choice here.
ALIASES = {
    "accumulation": "data.micro_batch",
    "arch": "model.name",
    "batch": "data.batch_size",
    "batch_norm_group": "model.bn_group",
    "beta1": "optimizer.b1",
    "beta2": "optimizer.b2",
    "beta_1": "optimizer.b1",
    "beta_2": "optimizer.b2",
    "bs": "data.batch_size",
    "dataset": "data.name",
    "data_path": "data.data_dir",
    "decay_factor": "schedule.factor",
    "eta": "schedule.learning_rate",
    "flip": "mirror",
    "gamma": "schedule.factor",
    "hflip": "mirror",
    "image_size": "data.image_shape",
    "input_size": "data.image_shape",
    "iterations": "steps",
    "l2": "optimizer.weight_decay",
    "label_smoothing": "loss.smoothing",
    "learning_rate": "schedule.learning_rate",
    "lr": "schedule.learning_rate",
    "max_epochs": "epochs",
    "max_steps": "steps",
    "milestones": "schedule.boundaries",
    "n_epochs": "epochs",
    "network": "model.name",
    "num_epochs": "epochs",
    "num_steps": "steps",
    "num_workers": "data.threads",
    "precision": "matmul_precision",
    "pretrained": "warm_start.workdir",
    "rate": "schedule.learning_rate",
    "resolution": "data.image_shape",
    "train_steps": "steps",
    "validation_split": "data.holdout",
    "wd": "optimizer.weight_decay",
    "workers": "data.threads",
    # choices
    "exp": "exponential",
    "bn_inception": "inception_v2",
    "inception": "inception_v3",
    "inception_resnet": "inception_resnet_v2",
    "inception_v1": "googlenet",
    "inceptionv3": "inception_v3",
    "inceptionv4": "inception_v4",
    "lenet": "lenet5",
    "multistep": "piecewise",
    "nag": "torch_momentum",
    "network_in_network": "nin_cifar10",
    "nin": "nin_cifar10",
    "nesterov": "torch_momentum",
    "reduce_on_plateau": "plateau",
    "sgd": "momentum",
    "softmax": "cross_entropy",
    "step": "piecewise",
    "swa": "polyak",
    **{f"vgg{n}{bn}": f"vgg_{c}{bn}" for n, c in VGG_COLUMNS.items() for bn in ("", "_bn")},
}


def rename_old_keys(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Rename the OLD_KEYS in a saved config, or in its section `prefix` (ending in a period)."""
    renamed = {}
    for key, value in saved.items():
        if isinstance(value, Mapping):
            value = rename_old_keys(value, f"{prefix}{key}.")
        if new := OLD_KEYS.get(f"{prefix}{key}", key):
            renamed[new.rpartition(".")[2]] = value
    return renamed


def rename_old_override(override: str) -> str:
    """Rename the key of an override `section.key=value`, or a key alone, if it is an old one."""
    for old, new in OLD_KEYS.items():
        if new and re.match(rf"{re.escape(old)}(\.|=|$)", override):
            return new + override.removeprefix(old)
    return override


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to {key: value}, with keys such as `data.pad`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def unknown_message(where: str, word: str, words: list[str], what: str = "value") -> str:
    """Return a message that `where` has no `word`, with the one that was meant, or all `words`.

    what: the kind of thing that `word` should name.
    """
    alias = ALIASES.get(word.lower())
    near = alias if alias in words else closest_word(word, words)
    hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(words)}"
    return f"{where}: no {what} {word!r}; {hint}"


def unknown_key_message(key: str, keys: list[str], elsewhere: Mapping[str, list[str]]) -> str:
    """Return a message that a config has no `key`, with the key that was meant.

    keys: those that the config has. elsewhere: {key: names of the choices that have it}, of all
    choices. A key that another choice has, and the right leaf in a wrong section, come before a key
    that is spelled alike. Without any, all keys of the section are listed.
    """
    section, _, leaf = key.rpartition(".")
    meant = (key, rename_old_override(key), ALIASES.get(leaf.lower(), key))
    same_leaf = [k for k in (*keys, *elsewhere) if leaf_of(k) == leaf]
    inside = [k for k in keys if section and k.startswith(f"{section}.")]
    others = [k for k in elsewhere if section and k.startswith(f"{section}.")]
    spelled_alike = (k for some in (inside, others, keys) for k in some if is_near(leaf, k, some))
    found = (
        *(k for k in meant if k in keys or k in elsewhere),
        *filter(None, [closest_word(key, same_leaf)]),
        *same_leaf,
        *spelled_alike,
    )
    for k in found:
        if k in keys:
            return f"--config: no key {key!r}; did you mean {k!r}?"
        names = " or ".join(elsewhere[k][:4])
        return f"--config: no key {key!r}; {k} needs --config.{k.partition('.')[0]}.name={names}"
    sections = list(dict.fromkeys(k.partition(".")[0] for k in keys))
    return f"--config: no key {key!r}; choose one of {', '.join(inside or sections)}"


def leaf_of(key: str) -> str:
    return key.rpartition(".")[2]


def is_near(leaf: str, key: str, keys: list[str]) -> bool:
    """Return whether of the leaves of `keys` that of `key` is the closest to `leaf`."""
    return closest_word(leaf, map(leaf_of, keys)) == leaf_of(key)


def split_override(text: str) -> tuple[str, str]:
    """Split `key=value`. Raises ConfigError if there is no key or no `=`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--config.{text}: write --config.key=value")
    return key, value
