"""Convolutions with few channels or small maps, summed in an order that a CPU computes fast.

`nn.Conv` takes them as its argument `conv_general_dilated`. On backends other than the CPU they
call `lax.conv_general_dilated`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

NHWC = ("NHWC", "HWIO", "NHWC")  # axes of image, kernel and output
SMALL = 16  # positions of a map up to which a convolution is one matrix product


def convolve_groups(
    x: jax.Array, kernel: jax.Array, *arguments: Any, feature_group_count: int = 1, **options: Any
) -> jax.Array:
    """Apply `convolve_small_maps`, to each group separately if the program has several devices.

    XLA does not split the gradient of a grouped convolution over devices; it gathers all images on
    each device. So each group becomes its own convolution. If the mesh axis "model" has as many
    devices as there are groups, each device computes one group with its part of the kernel.
    """
    mesh, groups = jax.sharding.get_abstract_mesh(), feature_group_count
    if groups == 1 or mesh.empty or mesh.size == 1:
        return convolve_small_maps(x, kernel, *arguments, feature_group_count=groups, **options)

    def one(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_small_maps(x, kernel, *arguments, **options)

    if mesh.shape["model"] == groups:
        maps = P(None, None, None, "model")
        split = jax.shard_map(one, in_specs=(maps, maps), out_specs=maps, axis_names={"model"})
        return split(x, kernel)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([one(*part) for part in parts], axis=-1)


def convolve_small_maps(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    **options: Any,
) -> jax.Array:
    """Convolve x: f32[N, H, W, C] with kernel: f32[kh, kw, C, F] -> f32[N, H', W', F].

    The values are those of `lax.conv_general_dilated`. On a CPU, an output of at most SMALL
    positions is computed as one matrix product; XLA's own gradients of such convolutions take up
    to a hundred times as long.
    """

    check_fits(x, kernel, padding)

    def output(axis: int) -> int:
        return (x.shape[1 + axis] + sum(padding[axis]) - kernel.shape[axis]) // strides[axis] + 1

    dilated = {*options["lhs_dilation"], *options["rhs_dilation"]} != {1}
    plain = feature_group_count == 1 and not dilated and kernel.shape[:2] != (1, 1)
    if jax.default_backend() == "cpu" and plain and output(0) * output(1) <= SMALL:
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        return convolve_patches(x, kernel, precision, strides)
    options |= dict(feature_group_count=feature_group_count, precision=precision)
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int] = (1, 1),
    padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
    *,
    lhs_dilation: Sequence[int] = (1, 1),
    rhs_dilation: Sequence[int] = (1, 1),
    dimension_numbers: lax.ConvDimensionNumbers | None = None,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Convolve x: f32[N, H, W, C] with kernel: f32[kh, kw, C, F] -> f32[N, H', W', F].

    The values are those of `lax.conv_general_dilated`. On a CPU they are summed in an order that
    is fast for few channels, as in LeNet. Raises ValueError for a stride other than 1, dilation or
    groups.
    """
    del dimension_numbers  # flax always passes NHWC, HWIO, NHWC
    if {*strides, *lhs_dilation, *rhs_dilation, feature_group_count} != {1}:
        raise ValueError("convolve takes stride 1, no dilation and one group only")
    check_fits(x, kernel, padding)
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=NHWC, precision=precision
        )
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    if len(x) == 1 or x.shape[1:3] == kernel.shape[:2] or kernel.shape[-1] >= 24:
        return convolve_patches(x, kernel, precision)
    return convolve_folded(x, kernel, precision)


def check_fits(x: jax.Array, kernel: jax.Array, padding: Sequence[tuple[int, int]]) -> None:
    """Raise ValueError if the padded x: [N, H, W, C] is smaller than the window of `kernel`."""
    height, width = (n + sum(p) for n, p in zip(x.shape[1:3], padding, strict=True))
    if height < kernel.shape[0] or width < kernel.shape[1]:
        raise ValueError(
            f"the image is too small: a convolution of {kernel.shape[0]}x{kernel.shape[1]} on a "
            f"map of {height}x{width}"
        )


def convolve_patches(
    x: jax.Array,
    kernel: jax.Array,
    precision: lax.PrecisionLike,
    strides: Sequence[int] = (1, 1),
) -> jax.Array:
    """Convolve the padded x as one matrix product.

    This is fast for many maps, small maps, one image, or a window as large as the map.
    """
    kh, kw, _, features = kernel.shape
    (down, across), (h, w) = strides, (x.shape[1] - kh + 1, x.shape[2] - kw + 1)
    patches = [x[:, i : i + h : down, j : j + w : across] for i in range(kh) for j in range(kw)]
    kernel = kernel.reshape(-1, features)
    return jnp.matmul(jnp.concatenate(patches, axis=-1), kernel, precision=precision)


def convolve_folded(x: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Convolve the padded x with `fold` neighboring columns as channels, for 24 maps or more.

    The CPU's matrix product processes 24 columns at a time. A group of columns of the output sees
    `seen` groups of the input, through `fold` copies of the kernel, each shifted by one column.
    """
    kh, kw, channels, features = kernel.shape
    n, h, w, _ = x.shape
    fold = -(-24 // features)
    groups = -(-(w - kw + 1) // fold)
    seen = -(-(fold + kw - 1) // fold)
    x = jnp.pad(x, ((0, 0), (0, 0), (0, (groups + seen - 1) * fold - w), (0, 0)))
    copies = [
        jnp.pad(kernel, ((0, 0), (i, seen * fold - kw - i), (0, 0), (0, 0))) for i in range(fold)
    ]
    y = lax.conv_general_dilated(
        x.reshape(n, h, -1, fold * channels),
        jnp.stack(copies, axis=3).reshape(kh, seen, fold * channels, fold * features),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=NHWC,
        precision=precision,
    )
    return y.reshape(n, h - kh + 1, groups * fold, features)[:, :, : w - kw + 1]
