"""The ledger of a network: what each layer gives out, costs, holds and sees.

Nothing is computed but shapes. Multiply-accumulates are those of one image, biases apart, which
is what the papers call operations. A layer is a module with an attribute `row`, the type of its
row, or flax's Conv or Dense; a convolution and the batch normalisation behind it are one row.
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

from cnn_archs.models.receptive_field import WHOLE, Field, Window, Windows, field_of, fields, layer

FLAX = {nn.Conv: "conv", nn.Dense: "dense"}
WINDOWED = ("conv", "maxpool", "avgpool", "subsampling")  # rows whose window is told
ALIGNED: Windows = (Window(1), Window(1))


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer, for one image.

    out: (H, W, C). memory: bytes of the output. receptive_field: side of the square of input
    pixels that an output sees; stride: pixels between the squares of neighbours; offset: the pixel
    at which the first one begins, negative in the padding. All three of the longer side where they
    differ, None where what is seen is not a square window. window: side and stride, `3x3/2`.
    branches: of a concatenation, the parameters and multiply-accumulates of each part.
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


def ledger(model: nn.Module, image_shape: tuple[int, int, int], train: bool = False) -> list[Row]:
    """One row for each layer, in the order of the computation; with `train`, auxiliary heads too.

    Nothing is allocated. ValueError for parameters outside of any layer.
    """
    return list(traced_rows(model, tuple(image_shape), train))


@functools.lru_cache(maxsize=64)
def traced_rows(
    model: nn.Module, image_shape: tuple[int, int, int], train: bool
) -> tuple[Row, ...]:
    """The same, traced once for each."""
    if getattr(model, "scan_blocks", False):
        model = model.clone(scan_blocks=False)  # the same layers, one by one
    rows: list[Row] = []
    windows: list[Windows] = []
    inside = False  # of a layer: what it is made of are no rows

    def call(following, args, kwargs, context):
        nonlocal inside
        module = context.module
        kind = kind_of(module)
        if inside or context.method_name != "__call__" or kind is None:
            return following(*args, **kwargs)
        x = args[0]
        params: Mapping[str, Any] = {}
        parts: dict[str, tuple[int, int]] | None = None
        if kind == "concat":  # its layers have rows of their own
            first = len(rows)
            x = out = following(*args, **kwargs)
            parts, seen = branches(rows[first:]), ALIGNED
        else:
            inside = True
            alone = module.clone(parent=None, name=None)
            try:
                out, params = shapes(alone, x.shape, x.dtype, tuple(kwargs.items()))
            except ValueError as e:
                raise ValueError(f"{'/'.join(module.path)}: {e}") from e
            inside = False
            seen = windows_of(module, kind, x.shape, out.shape)
        row = row_of(module, kind, out, params)
        window = written(seen) if kind in WINDOWED else ""
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
        raise ValueError(f"parameters outside of any layer: {where}; give its module a `row`")
    found = fields(jaxpr.jaxpr, field_of(image_shape), windows)
    return tuple(reaching(row, found.get(i)) for i, row in enumerate(rows))


def kind_of(module: nn.Module) -> str | None:
    """The type of the module's row, None if it is no layer."""
    return getattr(module, "row", None) or FLAX.get(type(module))


def row_of(module: nn.Module, kind: str, out: Any, params: Mapping[str, Any]) -> Row:
    """What a layer gives out and costs; `out` and `params` as shapes."""
    h, w, c = (1,) * (4 - out.ndim) + tuple(out.shape[1:])
    return Row(
        name="/".join(module.path),
        type=kind,
        out=(h, w, c),
        params=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)),
        macs=macs_of(module, params, (h, w, c)),
        memory=h * w * c * out.dtype.itemsize,
    )


@functools.lru_cache(maxsize=1024)
def shapes(
    module: nn.Module, shape: tuple[int, ...], dtype: Any, kwargs: tuple[tuple[str, Any], ...]
) -> tuple[jax.ShapeDtypeStruct, Mapping[str, Any]]:
    """(output, parameters) of one layer by itself, as shapes: the same for all layers like it."""

    def run(key, x):
        return module.init_with_output(key, x, **dict(kwargs))

    key = jax.eval_shape(lambda: jax.random.key(0))
    out, variables = jax.eval_shape(run, key, jax.ShapeDtypeStruct(shape, dtype))
    return out, variables.get("params", {})


def branches(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """(parameters, multiply-accumulates) by branch: `3x3_reduce` and `3x3` are one."""
    parts: dict[str, tuple[int, int]] = {}
    for row in rows:
        part = re.sub(r"_(reduce|proj|\d\w?)$", "", row.name.rpartition("/")[2])
        params, macs = parts.get(part, (0, 0))
        parts[part] = (params + row.params, macs + row.macs)
    return parts


def windows_of(
    module: nn.Module, kind: str, seen: tuple[int, ...], out: tuple[int, ...]
) -> Windows:
    """The windows of a layer, from its fields; None where its outputs see something else."""
    if kind in ("dense", "rbf", "gap"):
        return WHOLE
    if hasattr(module, "kernel_size"):
        size, stride = pair(module.kernel_size), pair(module.strides or 1)
        padding: Any = module.padding
        if isinstance(padding, str):
            padding = tuple(lax.padtype_to_pads(seen[1:3], size, stride, padding))
    elif hasattr(module, "window"):
        size, stride = pair(module.window), pair(module.stride)
        padding = getattr(module, "padding", 0)
    else:
        return ALIGNED if seen == out else None
    before = [p if isinstance(p, int) else p[0] for p in pair(padding)]
    return Window(size[0], stride[0], before[0]), Window(size[1], stride[1], before[1])


def pair(size: Any) -> tuple[Any, Any]:
    """flax takes a number for both sides."""
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def written(windows: Windows) -> str:
    """Side and stride: `3x3/2`."""
    if windows is None:
        return ""
    down, across = windows
    return f"{down.size}x{across.size}/{down.stride}"


def macs_of(module: nn.Module, params: Mapping[str, Any], out: tuple[int, ...]) -> int:
    """Multiply-accumulates of one call; a module that knows better says so in `macs(out)`."""
    if hasattr(module, "macs"):
        return module.macs(out)
    kernel = params.get("conv", params).get("kernel")  # each weight once for each position
    return out[0] * out[1] * math.prod(kernel.shape) if kernel is not None else 0


def reaching(row: Row, field: Field) -> Row:
    """`row` with what its outputs see."""
    if field is None:
        return row
    longer = max(field, key=lambda a: a.last - a.first)
    side = longer.last - longer.first + 1
    return dataclasses.replace(row, receptive_field=side, stride=longer.stride, offset=longer.first)


def totals(rows: Sequence[Row]) -> dict[str, int]:
    """params, macs and memory (of all outputs, concatenations too) of the whole network."""
    return {key: sum(getattr(r, key) for r in rows) for key in ("params", "macs", "memory")}
