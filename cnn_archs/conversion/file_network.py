"""Say in the metadata of a file of weights which network it is of, and decide by it on import.

Names and shapes of tensors do not tell all networks apart: response normalization has no tensors,
and the strides of a ResNet do not show in its kernels.
"""

import json
from collections.abc import Mapping
from typing import Any

from cnn_archs import models
from cnn_archs.config_keys import unknown_message
from cnn_archs.errors import ConfigError, DataError, escaped
from cnn_archs.models.network import Network
from cnn_archs.models.resnet import ResNet
from cnn_archs.roles import changes_function

KEY = "cnn_archs"  # of the metadata: one key alone, since safetensors writes several in any order


def metadata(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a file for a network. model: the section of its config."""
    fields = {key: value for key, value in model.items() if key != "name"}
    return {KEY: json.dumps({"network": model["name"], "fields": fields}, sort_keys=True)}


def check_same_network(recorded: Mapping[str, str], model: Mapping[str, Any], path: object) -> None:
    """Raise ConfigError if the metadata of a file name another network than `model`.

    model: the section of a config. The names may differ if all fields are the same. Raises
    DataError for metadata that are damaged.
    """
    try:
        said = json.loads(recorded[KEY])
        name, fields = str(said["network"]), dict(said["fields"])
    except (ValueError, TypeError, LookupError) as e:
        raise DataError(f"{path} is damaged: its metadata {KEY!r} name no network") from e
    if name not in models.MODELS:
        known = list(models.MODELS)
        raise ConfigError(f"{path}: {unknown_message('its network', escaped(name), known)}")
    theirs = {**json.loads(json.dumps(models.fields(name))), **fields}
    differing = [
        key
        for key, value in model.items()
        if key in theirs and changes_function(key) and theirs[key] != value
    ]
    same_class = type(models.create(name)) is type(models.create(model["name"]))
    if same_class and not differing:
        return
    defaults = json.loads(json.dumps(models.fields(name)))
    changed = [key for key in fields if key in defaults and fields[key] != defaults[key]]
    renamed = name != model["name"]
    keys = [key for key in (changed if renamed else differing) if changes_function(key)]
    way = [f"--config.model.name={name}"] if renamed else []
    way += [f"--config.model.{key}={override(theirs[key])}" for key in keys]
    what = f"of {name}, not of {model['name']}" if renamed else f"of another {name}"
    raise ConfigError(f"{path} holds the weights {what}, by its metadata: {escaped(' '.join(way))}")


def override(value: Any) -> str:
    """Return a value of JSON as an override on the command line writes it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def check_strides(model: Network, strides: str, path: object) -> None:
    """Raise ConfigError if `model` is a v1 ResNet, unless the strides of the file are said to be.

    strides: "v1", or "" if nothing was said. By names and shapes alone, a file for torchvision's
    ResNet-50, 101 or 152 fits our v1 too, which has stride 2 in another convolution.
    """
    if not isinstance(model, ResNet) or strides:
        return
    if (model.kind, model.unit, model.stem) != ("bottleneck", "residual", "7x7"):
        return
    if model.stride_in == "1x1" and model.shortcut == "B":
        name = f"resnet{3 * sum(model.blocks) + 2}_v1_5"
        raise ConfigError(
            f"{path} does not say which network it is of, and torchvision's strides are those of "
            f"{name}: --config.model.stride_in=3x3, or --strides=v1 if this file has stride 2 in "
            "the first 1x1 convolutions"
        )
