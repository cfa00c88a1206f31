"""Compare what the layers of a .caffemodel compute, apart from their weights, with a network.

Strides, pools and the constants of response normalization have no arrays, so that the weights of
another network could fit without a word.
"""

import re
from collections.abc import Sequence
from typing import Any

from cnn_archs import models
from cnn_archs.conversion import caffe_file
from cnn_archs.conversion.caffe_file import CaffeLayer
from cnn_archs.conversion.caffe_names import layer_names, pool_name
from cnn_archs.errors import escaped
from cnn_archs.models.alexnet import AlexNet
from cnn_archs.models.googlenet import GoogLeNet
from cnn_archs.models.resnet import ResNet
from cnn_archs.models.summary import summarize


def check_settings(
    model: models.Network, image_shape: tuple[int, int, int], layers: Sequence[CaffeLayer]
) -> None:
    """Raise ValueError if `model` computes something else than `layers` do with the same weights.

    The message has the overrides that mend it, if there are any. A file that states no settings
    passes.
    """
    wanted = wanted_settings(model, image_shape, layers)
    overrides = [*lrn_overrides(model, layers), *edge_overrides(model, layers)]
    for layer in layers:
        if layer.settings.get("negative_slope"):
            raise ValueError(f"{escaped(layer.name)} is a leaky ReLU")
        for key, value in wanted.get(layer.name, {}).items():
            found = layer.settings.get(key, value)
            if found == value:
                continue
            if isinstance(model, ResNet) and key == "stride" and layer.kind == "Convolution":
                other = {"1x1": "3x3", "3x3": "1x1"}[model.stride_in]
                overrides.append(f"--config.model.stride_in={other}")
                continue
            name = escaped(layer.name)
            raise ValueError(f"{name} has the {key} {found}, but that of this network is {value}")
    if overrides:
        flags = " ".join(dict.fromkeys(overrides))
        raise ValueError(f"by its settings it computes something else; with these it fits: {flags}")


def wanted_settings(
    model: models.Network, image_shape: tuple[int, int, int], layers: Sequence[CaffeLayer]
) -> dict[str, dict[str, Any]]:
    """Return {name of a layer in Caffe: {setting: value that computes the same as `model`}}."""
    names = layer_names(model, [layer.name for layer in layers])
    wanted: dict[str, dict[str, Any]] = {}
    for row in summarize(model, image_shape, train=True):
        window = re.fullmatch(r"(\d+)x\1/(\d+)", row.window)
        if not window:
            continue
        size, stride = map(int, window.groups())
        if row.type == "conv":
            first = isinstance(model, AlexNet) and row.name == "conv1"
            pad = model.stem[2] if first else size // 2
            name = names[tuple(row.name.split("/"))].conv
            wanted[name] = {"stride": stride, "pad": pad, "dilation": 1}
        elif row.type == "maxpool":
            name = pool_name(model, row.name)
            wanted[name] = {
                "kernel": size,
                "stride": stride,
                caffe_file.METHOD: 0,
                caffe_file.GLOBAL: 0,
            }
    return wanted


def lrn_overrides(model: models.Network, layers: Sequence[CaffeLayer]) -> list[str]:
    """Return the overrides with which `model` has the response normalization of `layers`.

    Raises ValueError for one that `model` cannot have.
    """
    norms = [layer for layer in layers if layer.kind == "LRN"]
    states_none = not any(layer.settings for layer in layers)
    if not isinstance(model, AlexNet | GoogLeNet):
        if norms:
            raise ValueError(f"its layer {escaped(norms[0].name)} does not belong to this network")
        return []
    if states_none or not (norms or model.lrn):
        return []
    if not norms:
        return ["--config.model.lrn=false"]
    stated = [norm.settings for norm in norms if norm.settings]
    if any(settings["within_channel"] or settings != stated[0] for settings in stated):
        raise ValueError("its response normalization is not one across maps with one set of values")
    found = [] if model.lrn else ["--config.model.lrn=true"]
    pools = {top for layer in layers if layer.kind == "Pooling" for top in layer.tops}
    after_pool = bool(pools.intersection(norms[0].bottoms))
    if isinstance(model, AlexNet) and after_pool != model.lrn_after_pool:
        found.append(f"--config.model.lrn_after_pool={str(after_pool).lower()}")
    if not stated:
        return found
    theirs = stated[0]
    if not close(theirs["k"], model.lrn_k):
        found.append(f"--config.model.lrn_k={theirs['k']:g}")
    if theirs["n"] != model.lrn_n:
        found.append(f"--config.model.lrn_n={theirs['n']}")
    if not close(theirs["beta"], model.lrn_beta):
        found.append(f"--config.model.lrn_beta={theirs['beta']:g}")
    ours = model.lrn_alpha if model.lrn_alpha_over_n else model.lrn_alpha * theirs["n"]
    if not close(theirs["alpha"], ours):
        found.append("--config.model.lrn_alpha_over_n=true")
        if not close(theirs["alpha"], model.lrn_alpha):
            found.append(f"--config.model.lrn_alpha={theirs['alpha']:g}")
    return found


def edge_overrides(model: models.Network, layers: Sequence[CaffeLayer]) -> list[str]:
    """Return the override with which the first pool of a ResNet has the edge of that in a file."""
    if not isinstance(model, ResNet):
        return []
    pads = [p.settings["pad"] for p in layers if p.name == "pool1" and p.settings]
    edge = "padded" if any(pads) else "overhanging"
    return [f"--config.model.pool1={edge}"] if pads and edge != model.pool1 else []


def close(a: float, b: float) -> bool:
    """Return whether two constants are the same in float32."""
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b))
