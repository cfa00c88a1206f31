"""The summary of a network: output, cost, memory and receptive field of each of its layers.

Only shapes are computed. Multiply-accumulates are counted for one image, without biases; the papers
call them operations. Each `network.Layer`, and each of flax's Conv and Dense, has one
row; a `ConvNorm`, a convolution with its batch normalization, is a single layer.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax import lax

from cnn_archs.models.network import (
    WHOLE,
    Layer,
    Network,
    Window,
    Windows,
    kernel_macs,
    pair,
    windows_of,
)
from cnn_archs.models.receptive_field import Field, field_of, fields, layer

FLAX = {nn.Conv: "conv", nn.Dense: "dense"}
WINDOWED = ("conv", "maxpool", "avgpool", "subsampling")  # kinds whose row shows the window
ALIGNED: Windows = (Window(1), Window(1))  # an output sees the input at its own position


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """The row of one layer, for one image.

    out: (H, W, C). memory: bytes of the output. receptive_field: side of the square of input
    pixels that an output sees; stride: distance in pixels between the squares of neighboring
    outputs; offset: the pixel at which the first square begins, negative inside the padding. Where
    height and width differ, these three belong to the longer side; they are None where an output
    does not see a square. window: size and stride, for example `3x3/2`. branches: the parameters
    and multiply-accumulates of each branch of a concatenation.
    """

    name: str
    type: str
    out: tuple[int, int, int]
    params: int
    macs: int
    receptive_field: int | None = None
    stride: int | None = None
    offset: int | None = None
    memory: int = 0
    window: str = ""
    branches: dict[str, tuple[int, int]] | None = None


def summarize(
    model: Network, image_shape: tuple[int, int, int], train: bool = False
) -> list[LayerSummary]:
    """Return one row for each layer, in the order of the computation.

    train: include auxiliary heads. Nothing is allocated. Raises ValueError if a parameter belongs
    to no layer.
    """
    return list(traced_rows(model, tuple(image_shape), train))


@functools.lru_cache(maxsize=64)
def traced_rows(
    model: Network, image_shape: tuple[int, int, int], train: bool
) -> tuple[LayerSummary, ...]:
    """Return the rows of `summarize`; equal arguments are traced once."""
    model = model.unrolled()
    rows: list[LayerSummary] = []
    windows: list[Windows] = []
    inside = False  # whether a layer is being called: the modules inside it have no rows

    def call(following, args, kwargs, context):
        nonlocal inside
        module = context.module
        kind = kind_of(module)
        if inside or context.method_name != "__call__" or kind is None:
            return following(*args, **kwargs)
        x = args[0]
        params: Mapping[str, Any] = {}
        parts: dict[str, tuple[int, int]] | None = None
        if kind == "concat":  # its parts are layers with rows of their own
            first = len(rows)
            x = out = following(*args, **kwargs)
            parts, seen = branches(rows[first:]), ALIGNED
        else:
            inside = True
            alone = without_random_numbers(module.clone(parent=None, name=None))
            try:
                out, params = shapes(alone, x.shape, x.dtype, tuple(kwargs.items()))
            except ValueError as e:
                raise ValueError(f"{'/'.join(module.path)}: {e}") from e
            inside = False
            seen = windows_seen(module, x.shape, out.shape)
        row = row_of(module, kind, out, params)
        window = window_text(seen) if kind in WINDOWED else ""
        rows.append(dataclasses.replace(row, window=window, branches=parts))
        windows.append(seen)
        return layer.bind(x, row=len(rows) - 1, shape=out.shape, dtype=out.dtype)

    def run(key, image):
        with nn.intercept_methods(call):
            rngs = {"params": key, "dropout": key}
            return model.init_with_output(rngs, image, train=train)

    image = jax.ShapeDtypeStruct((1, *image_shape), "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    jaxpr, (_, outside) = jax.make_jaxpr(run, return_shape=True)(key, image)
    for path, _ in jax.tree_util.tree_leaves_with_path(outside.get("params", {})):
        where = "/".join(p.key for p in path)
        raise ValueError(
            f"parameters outside of any layer: {where}; make its module a `network.Layer`"
        )
    found = fields(jaxpr.jaxpr, field_of(image_shape), windows)
    return tuple(reaching(row, found.get(i)) for i, row in enumerate(rows))


def kind_of(module: nn.Module) -> str | None:
    """Return the kind of layer that the module is; None if it is not a layer."""
    return module.kind if isinstance(module, Layer) else FLAX.get(type(module))


def without_random_numbers(module: nn.Module) -> nn.Module:
    """Return the layer with weights that start at 0: its shapes are the same, and found sooner."""
    if all(field.name != "kernel_init" for field in dataclasses.fields(module)):
        return module
    return module.clone(kernel_init=nn.initializers.zeros)


def row_of(module: nn.Module, kind: str, out: Any, params: Mapping[str, Any]) -> LayerSummary:
    """Return the row of a layer, without its receptive field. out, params: shapes."""
    h, w, c = (1,) * (4 - out.ndim) + tuple(out.shape[1:])
    macs = module.macs if isinstance(module, Layer) else kernel_macs
    return LayerSummary(
        name="/".join(module.path),
        type=kind,
        out=(h, w, c),
        params=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)),
        macs=macs(params, (h, w, c)),
        memory=h * w * c * out.dtype.itemsize,
    )


@functools.lru_cache(maxsize=1024)
def shapes(
    module: nn.Module, shape: tuple[int, ...], dtype: Any, kwargs: tuple[tuple[str, Any], ...]
) -> tuple[jax.ShapeDtypeStruct, Mapping[str, Any]]:
    """Return (output, parameters) of one layer as shapes; equal layers are traced once."""

    def run(key, x):
        return module.init_with_output(key, x, **dict(kwargs))

    key = jax.eval_shape(lambda: jax.random.key(0))
    out, variables = jax.eval_shape(run, key, jax.ShapeDtypeStruct(shape, dtype))
    return out, variables.get("params", {})


def branches(rows: Sequence[LayerSummary]) -> dict[str, tuple[int, int]]:
    """Return {branch: (parameters, multiply-accumulates)}; `3x3_reduce` belongs to branch `3x3`."""
    parts: dict[str, tuple[int, int]] = {}
    for row in rows:
        part = re.sub(r"_(reduce|proj|\d\w?)$", "", row.name.rpartition("/")[2])
        params, macs = parts.get(part, (0, 0))
        parts[part] = (params + row.params, macs + row.macs)
    return parts


def windows_seen(module: nn.Module, seen: tuple[int, ...], out: tuple[int, ...]) -> Windows:
    """Return the windows that the outputs of a layer see; None if they see no windows.

    seen, out: the shapes of its input and its output.
    """
    if isinstance(module, nn.Conv):
        size, stride = pair(module.kernel_size), pair(module.strides or 1)
        padding: Any = module.padding
        if isinstance(padding, str):
            padding = tuple(lax.padtype_to_pads(seen[1:3], size, stride, padding))
        return windows_of(size, stride, padding)
    if isinstance(module, Layer):
        return module.windows() or (ALIGNED if seen == out else None)
    return WHOLE  # flax's Dense


def window_text(windows: Windows) -> str:
    """Return size and stride, for example `3x3/2`; "" if there is no window."""
    if windows is None:
        return ""
    down, across = windows
    return f"{down.size}x{across.size}/{down.stride}"


def reaching(row: LayerSummary, field: Field) -> LayerSummary:
    """Return `row` with the receptive field of its outputs."""
    if field is None:
        return row
    longer = max(field, key=lambda a: a.last - a.first)
    side = longer.last - longer.first + 1
    return dataclasses.replace(row, receptive_field=side, stride=longer.stride, offset=longer.first)


def totals(rows: Sequence[LayerSummary]) -> dict[str, int]:
    """Return params, macs and memory (all outputs, concatenations included) of the network."""
    return {key: sum(getattr(r, key) for r in rows) for key in ("params", "macs", "memory")}
