"""Modules that join branches, written as tables: Inception-v2 to v4 and the residual forms.

A layer is (patch, maps or pool). A patch is height x width: `1x7` has stride 1 and keeps the size,
`3x3/2` has stride 2 and no padding. A branch is a list of numbered layers in sequence; a dict
{end of name: layer} in it has layers side by side. A module is a dict {name: branch}.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.models.layers import (
    INITIALIZERS,
    ConvNorm,
    Initializer,
    maybe_remat,
    relu,
    scaled,
)
from cnn_archs.models.network import Layer
from cnn_archs.models.pooling import AvgPool, GlobalAvgPool

Module = Mapping[str, Any]
ApplyLayer = Callable[..., jax.Array]  # (x, patch, maps or pool, name=) -> maps

# The mean of the pixels that a window has inside of the image, as in the releases of the papers.
InnerAvgPool = partial(AvgPool, count_padding=False)


class Patch(NamedTuple):
    """The window of a layer. padded: whether it is padded so that stride 1 keeps the size."""

    height: int
    width: int
    stride: int
    padded: bool

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width."""
        return self.height, self.width

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The padding (before, after) of the height and of the width."""
        if not self.padded:
            return (0, 0), (0, 0)
        down, across = self.height // 2, self.width // 2
        return (down, down), (across, across)


def parse_patch(patch: str) -> Patch:
    """Return the window that a table writes as `1x7` or `3x3/2`."""
    size, _, stride = patch.partition("/")
    height, width = map(int, size.split("x"))
    return Patch(height, width, int(stride or 1), padded=not stride)


class Mixed(Layer):
    """Branches that see the same maps; their outputs are concatenated."""

    kind = "concat"
    branches: Module
    layer: ApplyLayer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H', W', sum of the branches]."""
        outputs = []
        for branch, layers in self.branches.items():
            ends = [x]
            for i, step in enumerate(layers, start=1):
                number = f"_{i}" if len(layers) > 1 else ""
                sides = step if isinstance(step, Mapping) else {number: step}
                ends = [self.layer(ends[0], *one, name=branch + end) for end, one in sides.items()]
            outputs += ends
        return jnp.concatenate(outputs, axis=-1)


def layer_of(network: Any, train: bool, init: Initializer = INITIALIZERS["he"]) -> ApplyLayer:
    """Return the function that applies one layer of a table of Inception-v3 or later.

    A convolution has batch normalization with epsilon 1e-3 and a ReLU. network: a module with the
    fields width, bn_group and dtype. init: of the kernels, unless a layer is applied with another.
    """
    norm: Any = dict(epsilon=1e-3, bn_group=network.bn_group, dtype=network.dtype)

    def layer(
        x: jax.Array, patch: str, maps: Any, *, name: str, init: Initializer = init
    ) -> jax.Array:
        window = parse_patch(patch)
        if not isinstance(maps, int):  # a square pool
            return maps(window.height, window.stride, window.padding[0][0], name=name)(x)
        how: Any = dict(strides=window.stride, padding=window.padding, name=name, **norm)
        conv = ConvNorm(scaled(maps, network.width), window.size, init, **how)
        return relu(conv(x, train=train))

    return layer


def run_layers(
    network: nn.Module,
    layer: ApplyLayer,
    x: jax.Array,
    named: Iterable[tuple[str, Any]],
    again: bool,
) -> jax.Array:
    """Apply layers and modules in their order. again: whether modules are rematerialized."""

    def mix(_: Any, x: jax.Array, branches: Module, name: str) -> jax.Array:
        return Mixed(branches, layer, name=name)(x)  # nn.remat of Mixed would sort its branches

    for name, entry in named:
        if isinstance(entry, Mapping):
            x = maybe_remat(again, network, partial(mix, branches=entry, name=name), x)
        else:
            x = layer(x, *entry, name=name)
    return x


def classify(
    network: Any, x: jax.Array, train: bool, init: Initializer = INITIALIZERS["he"]
) -> jax.Array:
    """Map the last maps x to logits: the mean of each map, dropout, and one dense layer.

    network: a module with the fields num_classes, dropout and dtype. init: of the dense kernel.
    """
    x = nn.Dropout(network.dropout, deterministic=not train)(GlobalAvgPool(name="avgpool")(x))
    return nn.Dense(network.num_classes, kernel_init=init, dtype=network.dtype, name="fc")(x)


def check_size(name: str, image: jax.Array, least: int) -> None:
    """Raise ValueError if a side of the images is shorter than `least` pixels."""
    if min(image.shape[1:3]) < least:
        raise ValueError(f"{name} takes {least}x{least} or more, not {image.shape[1:3]}")
