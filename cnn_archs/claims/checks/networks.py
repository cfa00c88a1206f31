"""Checks of a network's layers, by its summary (`models/summary.py`).

A check of LAYER gets the row of the one layer that a claim names, a check of LAYERS all rows that
match. `of_network` turns both into functions of the arguments that a claim states. model: a name of
`models.MODELS`. image: [H, W, C]. layer: the name of a row, or a pattern for several, such as
`3a/*`. fields: fields of the module. train: whether to count layers that only training needs.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs import models
from cnn_archs.models.summary import LayerSummary, summarize

WITH_WEIGHTS = ("conv", "dense")  # types of rows
NONE: Mapping[str, Any] = {}


@functools.cache
def summary_of(
    model: str, image: tuple[int, int, int], fields: Any, train: bool
) -> list[LayerSummary]:
    """Return the summary of a network, which is cached. fields: as `models.hashable` gives them."""
    return summarize(models.create(model, **fields), image, train)


def rows_of(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> list[LayerSummary]:
    """List the rows whose names match `layer`, in the order of the computation.

    Raises ValueError if no row matches.
    """
    height, width, channels = image
    all_rows = summary_of(model, (height, width, channels), models.hashable(fields), train)
    found = [r for r in all_rows if fnmatchcase(r.name, layer)]
    if not found:
        raise ValueError(f"{model} has no layer {layer}")
    return found


def of_network(check: Callable[[Sequence[LayerSummary]], Any]) -> Callable[..., Any]:
    """Turn a check of rows into a check of a network.

    Without `layer` the check gets the rows of all layers.
    """

    def run(
        model: str,
        image: Sequence[int],
        layer: str = "*",
        fields: Mapping[str, Any] = NONE,
        train: bool = False,
    ) -> Any:
        return check(rows_of(model, image, layer, fields, train))

    return run


def of_one_layer(check: Callable[[LayerSummary], Any]) -> Callable[..., Any]:
    """Turn a check of one row into a check of one layer of a network.

    The check raises ValueError if several layers match.
    """

    def run(
        model: str,
        image: Sequence[int],
        layer: str,
        fields: Mapping[str, Any] = NONE,
        train: bool = False,
    ) -> Any:
        found = rows_of(model, image, layer, fields, train)
        if len(found) > 1:
            raise ValueError(f"{model} has {len(found)} layers {layer}")
        return check(found[0])

    return run


def out(row: LayerSummary) -> list[int]:
    """Return the layer's output shape as [H, W, C]."""
    return list(row.out)


def window(row: LayerSummary) -> str:
    """Return the side and the stride of a convolution or pool, such as `3x3/2`."""
    return row.window


def kernel(row: LayerSummary) -> list[int]:
    """Return [height, width, input maps] of one kernel of a convolution.

    In a grouped convolution the input maps are those of one group.
    """
    height, width = map(int, row.window.partition("/")[0].split("x"))
    return [height, width, weights_of(row) // (height * width * row.out[2])]


def sees(row: LayerSummary) -> int | None:
    """Return the side of the receptive field in pixels."""
    return row.receptive_field


def maps(rows: Sequence[LayerSummary]) -> list[int]:
    """List the number of maps of each convolution."""
    return [r.out[2] for r in rows if r.type == "conv"]


def params(rows: Sequence[LayerSummary]) -> int:
    """Count trainable parameters."""
    return sum(r.params for r in rows)


def weights(rows: Sequence[LayerSummary]) -> int:
    """Count weights: parameters without biases and batch normalization."""
    return sum(map(weights_of, rows))


def weights_of(row: LayerSummary) -> int:
    """Count the weights of a convolution or a dense layer, which uses each once per position."""
    return row.macs // (row.out[0] * row.out[1]) if row.type in WITH_WEIGHTS else 0


def macs(rows: Sequence[LayerSummary]) -> int:
    """Count multiply-accumulates for one image."""
    return sum(r.macs for r in rows)


def neurons(rows: Sequence[LayerSummary]) -> int:
    """Count outputs of convolutions and dense layers."""
    return sum(math.prod(r.out) for r in rows if r.type in WITH_WEIGHTS)


def connections(rows: Sequence[LayerSummary]) -> int:
    """Count connections as LeNet-5's section II.B does: the inputs of every unit, and its bias.

    A unit of a subsampling layer takes each pixel of its window; an RBF unit has no bias.
    """

    def of(row: LayerSummary) -> int:
        units = math.prod(row.out)
        if row.type == "subsampling":
            side = int(row.window.partition("x")[0])
            return units * (side**2 + 1)
        return row.macs + (units if row.type in WITH_WEIGHTS else 0)

    return sum(map(of, rows))


LAYER = (out, window, kernel, sees)
LAYERS = (maps, params, weights, macs, neurons, connections)


def count(
    model: str,
    image: Sequence[int],
    layer: str = "*",
    type: str = "*",
    fields: Mapping[str, Any] = NONE,
    train: bool = False,
) -> int:
    """Count the rows that match in name and type, which may be 0."""
    every = rows_of(model, image, "*", fields, train)
    return sum(fnmatchcase(r.name, layer) and fnmatchcase(r.type, type) for r in every)


def units(model: str, image: Sequence[int]) -> list[int]:
    """Count the units in each stage of a residual network."""
    found = {
        match[0]: match[1]
        for r in rows_of(model, image)
        if (match := re.match(r"(conv\d+)_(\d+)/", r.name))
    }
    stages = Counter(name.partition("_")[0] for name in found)
    return list(stages.values())


def depth(model: str, image: Sequence[int]) -> int:
    """Count layers with weights along the longest path from the image to the classes.

    Projections of shortcuts do not count, as in the papers.
    """
    every = rows_of(model, image)
    modules = {r.name for r in every if r.type == "concat"}
    branches: dict[str, Counter[str]] = {name: Counter() for name in modules}
    outside = 0
    for r in every:
        module, _, inside = r.name.rpartition("/")
        if r.type not in WITH_WEIGHTS or inside == "shortcut":
            continue
        if module in modules:
            branches[module][inside.partition("_")[0]] += 1
        else:
            outside += 1
    return outside + sum(max(of.values()) for of in branches.values())


def ratio(what: str, of: Mapping[str, Any], to: Mapping[str, Any]) -> float:
    """Divide `what` (params, weights, macs) of one network or layer by that of another."""
    measure = {"params": params, "weights": weights, "macs": macs}[what]
    return measure(rows_of(**of)) / measure(rows_of(**to))


def heads(model: str, image: Sequence[int], train: bool) -> list[str]:
    """List the names of the network's outputs, sorted."""
    net = models.create(model)

    def run(key: jax.Array) -> Any:
        rngs = {"params": key, "dropout": key}
        return net.init_with_output(rngs, jnp.zeros((1, *image)), train=train)[0]

    return sorted(jax.eval_shape(run, jax.random.key(0)))
