"""Checks of a network's layers, by its summary (`models/summary.py`).

model: a name of `models.MODELS`; image: [H, W, C]; fields: of the module; train: with what only
training needs. layer: the name of a row, or a pattern for several, `3a/*`; ValueError for none.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs import models
from cnn_archs.models.summary import LayerSummary, summarize

COUNTED = ("conv", "dense")  # rows with weights
NONE: Mapping[str, Any] = {}


@functools.cache
def rows_of(
    model: str, image: tuple[int, int, int], fields: Any, train: bool
) -> list[LayerSummary]:
    return summarize(models.create(model, **fields), image, train)


def rows(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> list[LayerSummary]:
    """The rows whose names match `layer`, in the order of the computation."""
    height, width, channels = image
    all_rows = rows_of(model, (height, width, channels), models.hashable(fields), train)
    found = [r for r in all_rows if fnmatchcase(r.name, layer)]
    if not found:
        raise ValueError(f"{model} has no layer {layer}")
    return found


def one(model: str, image: Sequence[int], layer: str, **options: Any) -> LayerSummary:
    """The only row that matches."""
    found = rows(model, image, layer, **options)
    if len(found) > 1:
        raise ValueError(f"{model} has {len(found)} layers {layer}")
    return found[0]


def out(
    model: str,
    image: Sequence[int],
    layer: str,
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> list[int]:
    """[H, W, C] of what the layer gives out."""
    return list(one(model, image, layer, fields=fields, train=train).out)


def window(
    model: str,
    image: Sequence[int],
    layer: str,
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> str:
    """Side and stride of a convolution or pool: `3x3/2`."""
    return one(model, image, layer, fields=fields, train=train).window


def kernel(
    model: str, image: Sequence[int], layer: str, fields: Mapping[str, Any] = NONE
) -> list[int]:
    """[height, width, maps it sees] of one kernel of a convolution; of a grouped one, its group."""
    row = one(model, image, layer, fields=fields)
    height, width = map(int, row.window.partition("/")[0].split("x"))
    return [height, width, weights_of(row) // (height * width * row.out[2])]


def maps(
    model: str, image: Sequence[int], layer: str, fields: Mapping[str, Any] = NONE
) -> list[int]:
    """The number of maps of each convolution that matches."""
    return [r.out[2] for r in rows(model, image, layer, fields) if r.type == "conv"]


def sees(
    model: str, image: Sequence[int], layer: str, fields: Mapping[str, Any] = NONE
) -> int | None:
    """The side of the receptive field, in pixels."""
    return one(model, image, layer, fields=fields).receptive_field


def params(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> int:
    """Trainable parameters: of the whole network, or of what matches."""
    return sum(r.params for r in rows(model, image, layer, fields, train))


def weights(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> int:
    """The same without biases and batch normalization."""
    return sum(weights_of(r) for r in rows(model, image, layer, fields, train))


def weights_of(row: LayerSummary) -> int:
    """Of a convolution or a dense layer: each weight is used once for each position."""
    return row.macs // (row.out[0] * row.out[1]) if row.type in COUNTED else 0


def macs(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> int:
    """Multiply-accumulates for one image: of the whole network, or of what matches."""
    return sum(r.macs for r in rows(model, image, layer, fields, train))


def neurons(
    model: str, image: Sequence[int], layer: str = "*", fields: Mapping[str, Any] = NONE
) -> int:
    """Outputs of convolutions and dense layers."""
    found = rows(model, image, layer, fields)
    return sum(math.prod(r.out) for r in found if r.type in COUNTED)


def connections(
    model: str, image: Sequence[int], layer: str = "*", fields: Mapping[str, Any] = NONE
) -> int:
    """As LeNet-5's section II.B counts them: the inputs of every unit, and its bias.

    A unit of a subsampling layer takes each pixel of its window; an RBF unit has no bias.
    """

    def of(row: LayerSummary) -> int:
        units = math.prod(row.out)
        if row.type == "subsampling":
            side = int(row.window.partition("x")[0])
            return units * (side**2 + 1)
        return row.macs + (units if row.type in COUNTED else 0)

    return sum(of(r) for r in rows(model, image, layer, fields))


def count(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    type: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> int:
    """How many rows match, of that type; 0 is a number too."""
    every = rows(model, image, "*", fields, train)
    return sum(fnmatchcase(r.name, layer) and fnmatchcase(r.type, type) for r in every)


def units(model: str, image: Sequence[int]) -> list[int]:
    """Of a residual net: the number of units in each stage."""
    found = {
        match[0]: match[1]
        for r in rows(model, image)
        if (match := re.match(r"(conv\d+)_(\d+)/", r.name))
    }
    stages = Counter(name.partition("_")[0] for name in found)
    return list(stages.values())


def depth(model: str, image: Sequence[int]) -> int:
    """Layers with weights from the image to the classes: of a module with branches, the longest.

    Projections of shortcuts do not count, as in the papers.
    """
    every = rows(model, image)
    modules = {r.name for r in every if r.type == "concat"}
    branches: dict[str, Counter[str]] = {name: Counter() for name in modules}
    outside = 0
    for r in every:
        module, _, inside = r.name.rpartition("/")
        if r.type not in COUNTED or inside == "shortcut":
            continue
        if module in modules:
            branches[module][inside.partition("_")[0]] += 1
        else:
            outside += 1
    return outside + sum(max(of.values()) for of in branches.values())


def ratio(what: str, of: Mapping[str, Any], to: Mapping[str, Any]) -> float:
    """`what` (params, weights, macs) of one network or layer, in parts of another's."""
    measure = {"params": params, "weights": weights, "macs": macs}[what]
    return measure(**of) / measure(**to)


def heads(model: str, image: Sequence[int], train: bool) -> list[str]:
    """The names of the network's outputs, sorted."""
    net = models.create(model)

    def run(key: jax.Array) -> Any:
        rngs = {"params": key, "dropout": key}
        return net.init_with_output(rngs, jnp.zeros((1, *image)), train=train)[0]

    return sorted(jax.eval_shape(run, jax.random.key(0)))
