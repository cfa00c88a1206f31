"""Import a .caffemodel: its weights for a network here, and the input that it was trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_archs import models
from cnn_archs.conversion import caffe_file, caffe_layout, caffe_settings
from cnn_archs.errors import config_errors
from cnn_archs.experiment import ExperimentSettings
from cnn_archs.normalizations import normalization_overrides

SUFFIX = ".caffemodel"
INPUT = ("data.mean", "data.std", "data.channel_order", "standardize")


def is_caffe_file(path: Path) -> bool:
    """Return whether a file is one of Caffe, by its name; its content has no mark."""
    return path.suffix.lower() == SUFFIX


def input_overrides(path: Path, normalization: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the input that `normalization` and the file at `path` stand for.

    overrides: those that the user has stated. Where neither says anything of the input, that of a
    file of Caffe is Caffe's: pixels from 0 to 255 minus the mean color, here as RGB.
    """
    stated = any(override.startswith(INPUT) for override in overrides)
    if is_caffe_file(path) and not normalization and not stated:
        return [*normalization_overrides("caffe"), "data.channel_order=rgb"]
    return normalization_overrides(normalization)


def read_caffe(path: Path, settings: ExperimentSettings) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the weights of a .caffemodel as a state dict of the network of `settings`, and notes.

    Raises ConfigError if the file is of another network, DataError if it is damaged.
    """
    layers = caffe_file.read_caffemodel(path)
    model, shape, data = settings.model, settings.image_shape, settings.config["data"]
    rgb = data["channel_order"] == "rgb"
    with config_errors(f"{path} does not fit model {settings.name}"):
        caffe_settings.check_settings(model, shape, layers)
        state = caffe_layout.state_dict(
            model, shape, layers, heads=models.head_paths(model, shape), rgb=rgb
        )
    order = "put from Caffe's BGR into RGB" if rgb else "left in Caffe's order, BGR"
    return state, [
        f"the input of the first convolution is {order}; images have data.mean={data['mean']} and "
        f"data.std={data['std']}"
    ]
