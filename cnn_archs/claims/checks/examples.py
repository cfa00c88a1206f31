"""Checks of worked examples, of functions with printed values, and of initial weights."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs import models
from cnn_archs.claims.checks.observed import quick_jit
from cnn_archs.data.datasets import sources
from cnn_archs.models import lenet, residual_units
from cnn_archs.models.cpu.convolution import convolve


def convolution(image: Sequence[Sequence[float]], kernel: Sequence[Sequence[float]]) -> Any:
    """Return the rows of the convolution of one map: [H][W] -> [H'][W'].

    The stride is 1, and nothing is padded.
    """
    x, k = jnp.asarray(image, jnp.float32), jnp.asarray(kernel, jnp.float32)
    return convolve(x[None, :, :, None], k[:, :, None, None])[0, :, :, 0].tolist()


def squash(x: float) -> float:
    """Compute LeNet-5's scaled hyperbolic tangent."""
    return float(lenet.squash(jnp.float32(x)))


def c3_connections() -> np.ndarray:
    """Return whether each of C3's 16 maps moves with each of S2's 6 maps: bool[6, 16].

    The layer is run on seven images: one of zeros, and for each map one that has ones in it.
    """

    @quick_jit
    def run(key: jax.Array, x: jax.Array) -> Any:
        return lenet.LeNet5_1998().init_with_output(key, x, "C3", method="affine")[0]

    x = np.concatenate([np.zeros((1, 6)), np.eye(6)])[:, None, None, :]
    y = np.asarray(run(jax.random.key(0), jnp.float32(np.tile(x, (1, 14, 14, 1)))))
    return (y[1:] != y[:1]).any((1, 2))


def c3_table() -> list[list[int]]:
    """List, for each of C3's 16 maps, the maps of S2 that feed it."""
    return [np.flatnonzero(column).tolist() for column in c3_connections().T]


def c3_uses() -> list[int]:
    """Count, for each of S2's 6 maps, the maps of C3 that it feeds."""
    return c3_connections().sum(1).tolist()


def stack_weights(windows: Sequence[int], maps: int) -> int:
    """Count the weights of a stack of convolutions, each from `maps` to `maps` maps."""

    def run(key: jax.Array) -> Any:
        x = jnp.zeros((1, 9, 9, maps))
        convs = [nn.Conv(maps, (w, w), padding=w // 2, use_bias=False) for w in windows]
        return nn.Sequential(convs).init(key, x)

    shapes = jax.tree.leaves(jax.eval_shape(run, jax.random.key(0)))
    return sum(math.prod(s.shape) for s in shapes)


def zeroed_unit(form: str, kind: str, x: float) -> float:
    """Return the output of a residual unit with zero weights for a map of `x`; NaN if it varies.

    form: `residual` or `preactivation`; kind: `basic` or `bottleneck`.
    """
    options: Any = dict(shortcut="B", stride_in="1x1", bn_group=0, dtype="float32")
    module = residual_units.UNITS[form](width=4, stride=1, kind=kind, **options)

    @quick_jit
    def run(image: jax.Array) -> Any:
        zeros = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.zeros_like(leaf) if path[-1].key == "kernel" else leaf,
            module.init(jax.random.key(0), image, train=False),
        )
        return module.apply(zeros, image, train=False)

    y = run(jnp.full((2, 5, 5, 16 if kind == "bottleneck" else 4), x))
    return float(y[0, 0, 0, 0]) if bool((y == y[0, 0, 0, 0]).all()) else math.nan


def drawings(split: str) -> int:
    """Count the drawings per class of the dataset `shapes`, in train, test or challenge."""
    labels = sources.load_split("shapes", split).labels
    (number,) = set(np.bincount(labels).tolist())
    return number


def initial(
    model: str, image: Sequence[int], layers: Sequence[str], fields: Mapping[str, Any]
) -> list[dict[str, np.ndarray]]:
    """Return weights and biases of these layers before training, from seed 0."""
    height, width, channels = image

    @quick_jit  # XLA drops all that these layers do not need
    def run(key: jax.Array) -> Any:
        net = models.create(model, **fields)
        params = models.init(net, key, (height, width, channels))["params"]
        return [inside(params, layer) for layer in layers]

    def inside(params: Any, layer: str) -> Any:
        for part in layer.split("/"):
            params = params[part]
        return params.get("conv", params)

    return jax.tree.map(np.asarray, run(jax.random.key(0)))


def initial_biases(
    model: str, image: Sequence[int], layers: Sequence[str], fields: Mapping[str, Any]
) -> list[float]:
    """Return, for each layer, the value that all of its biases have before training."""
    found = []
    for layer in initial(model, image, layers, fields):
        (value,) = set(layer["bias"].tolist())
        found.append(value)
    return found


def initial_deviation(
    model: str, image: Sequence[int], layer: str, fields: Mapping[str, Any]
) -> float:
    """Return the standard deviation of a layer's weights before training."""
    (of,) = initial(model, image, [layer], fields)
    return float(of["kernel"].std())


def initial_bound(model: str, image: Sequence[int], layer: str, fields: Mapping[str, Any]) -> float:
    """Return the largest absolute value of a layer's weights before training."""
    (of,) = initial(model, image, [layer], fields)
    return float(np.abs(of["kernel"]).max())
