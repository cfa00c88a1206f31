"""The ledger of a network: output size, parameters, multiply-accumulates, receptive field.

Nothing is computed but shapes. Multiply-accumulates are those of one image, biases apart, which
is what the papers call operations.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.analysis.report import aligned


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer. out: (H, W, C); receptive_field: side of the square of input that an output sees."""

    name: str
    type: str
    out: tuple[int, int, int]
    params: int
    macs: int
    receptive_field: int


def ledger(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Row]:
    """One row for each layer that has parameters or a window, in the order of the computation."""
    rows: list[Row] = []
    field, jump, side = 1, 1, image_shape[0]  # of the layer before: what it sees, apart, map size

    def record(call, args, kwargs, context):
        nonlocal field, jump, side
        out = call(*args, **kwargs)
        module = context.module
        kind = KINDS.get(type(module).__name__)
        if context.method_name != "__call__" or kind is None:
            return out
        window, stride = window_of(module)
        if kind in ("dense", "rbf"):
            field += (side - 1) * jump
            side = 1
        else:
            field += (window - 1) * jump
            jump *= stride
            side = out.shape[1]
        shape = (1,) * (4 - out.ndim) + tuple(out.shape[1:])
        leaves = jax.tree.leaves(module.variables.get("params", {}))
        rows.append(
            Row(
                name="/".join(module.path),
                type=kind,
                out=(shape[0], shape[1], shape[2]),
                params=sum(math.prod(leaf.shape) for leaf in leaves),
                macs=macs_of(module, args[0].shape, shape),
                receptive_field=field,
            )
        )
        return out

    def run(key):
        with nn.intercept_methods(record):
            return model.init(key, jnp.zeros((1, *image_shape)), train=False)

    jax.eval_shape(run, jax.random.key(0))
    return rows


KINDS = {
    "Conv": "conv",
    "TableConv": "conv",
    "Dense": "dense",
    "AvgPool": "avgpool",
    "Subsample": "avgpool",
    "MaxPool": "maxpool",
    "RBF": "rbf",
}


def window_of(module: nn.Module) -> tuple[int, int]:
    """(side of the window, stride) of a convolution or a pooling layer; (1, 1) for the others."""
    if isinstance(module, nn.Conv):
        return pair(module.kernel_size)[0], pair(module.strides or 1)[0]
    return getattr(module, "window", 1), getattr(module, "stride", 1)


def macs_of(module: nn.Module, seen: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Multiply-accumulates of one call; a module that knows better says so in `macs(out)`."""
    if hasattr(module, "macs"):
        return module.macs(out)
    if isinstance(module, nn.Conv):
        window = math.prod(pair(module.kernel_size))
        return math.prod(out) * window * seen[-1] // module.feature_group_count
    if isinstance(module, nn.Dense):
        return math.prod(out) * seen[-1]
    return 0


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """flax takes a number for both sides."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def totals(rows: list[Row]) -> dict[str, int]:
    """params and macs of the whole network."""
    return {"params": sum(r.params for r in rows), "macs": sum(r.macs for r in rows)}


def summary(name: str, image_shape: tuple[int, int, int], rows: list[Row]) -> dict[str, Any]:
    """For `summarize --format=json`."""
    layers = [dataclasses.asdict(r) for r in rows]
    return {"name": name, "input": list(image_shape), **totals(rows), "layers": layers}


def table(rows: list[Row]) -> str:
    """The ledger as a person reads it."""
    head = ("layer", "type", "output", "parameters", "multiply-adds", "sees")
    body = [
        (
            r.name,
            r.type,
            "x".join(map(str, r.out)),
            f"{r.params:,}",
            f"{r.macs:,}",
            f"{r.receptive_field}x{r.receptive_field}",
        )
        for r in rows
    ]
    sums = totals(rows)
    body.append(("total", "", "", f"{sums['params']:,}", f"{sums['macs']:,}", ""))
    return aligned([head, *body], left=2)
