"""Convolutions of a training step on one CPU, with a fast form for each of the three passes.

The passes are the output, the gradient of the input and the gradient of the kernel. If oneDNN is
enabled, XLA passes to it every convolution that XLA's own library YNNPACK does not take. YNNPACK is
1.1 to 5 times slower here, and one process in ten failed at its start ("YNNPACK operation failed:
unsupported parameter"). It takes convolutions over two axes only, so all are written over three.
The values equal those of `lax.conv_general_dilated` up to rounding.
"""

from collections.abc import Sequence
from functools import partial
from operator import gt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_archs.models.cpu.convolution import NHWC, SMALL, convolve_groups, convolve_patches
from cnn_archs.models.cpu.training_step import computed_once, traced_step

Pair = tuple[int, int]
NDHWC = ("NDHWC", "DHWIO", "NDHWC")
FEW = 8  # positions of a map up to which a convolution is one matrix product
PART = 16  # images whose contribution to a kernel's gradient is computed at once


def convolve_as_traced(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[Pair],
    *,
    feature_group_count: int = 1,
    **options: Any,
) -> jax.Array:
    """Convolve in the form for the training step that is being traced, else by `convolve_groups`.

    x: [N, H, W, C], kernel: [kh, kw, C / groups, F] -> [N, H', W', F]. The arguments are those
    that flax passes to `lax.conv_general_dilated`. The forms for training steps exist for float32
    without dilation, in one group or, as in AlexNet, in two.
    """
    step, groups = traced_step(), feature_group_count
    dilated = {*options["lhs_dilation"], *options["rhs_dilation"]} != {1}
    if step is None or dilated or groups > 2 or x.dtype != jnp.float32:
        options["feature_group_count"] = groups
        return convolve_groups(x, kernel, strides, padding, **options)
    (top_bottom, left_right), (down, across) = map(tuple, padding), strides
    convolve_one = partial(
        convolve,
        strides=(down, across),
        padding=(top_bottom, left_right),
        onednn=step.onednn,
    )
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([convolve_one(*part) for part in parts], axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair], onednn: bool
) -> jax.Array:
    """Convolve x: f32[N, H, W, C] with kernel: f32[kh, kw, C, F] -> f32[N, H', W', F].

    onednn: whether the program is compiled with oneDNN's convolutions.
    """
    return _forward(x, kernel, strides, padding, onednn)[0]


def _forward(x, kernel, strides, padding, onednn):
    x = computed_once(x)
    return output(x, kernel, strides, padding, onednn), (x, kernel)


def _backward(strides, padding, onednn, kept, g):
    x, kernel = kept
    g = computed_once(g)
    return (
        input_gradient(x, kernel, g, strides, padding, onednn),
        kernel_gradient(x, kernel, g, strides, padding, onednn),
    )


convolve.defvjp(_forward, _backward)


def output(x, kernel, strides, padding, onednn):
    """Return the output of the convolution: f32[N, H', W', F]."""
    if is_product(x, kernel, strides, padding, FEW):
        return product(x, kernel, strides, padding)
    if onednn:
        return over_three_axes(x, kernel, strides, padding)
    return plain(x, kernel, strides, padding)


def input_gradient(x, kernel, g, strides, padding, onednn):
    """Return the gradient of x, given the gradient g: f32[N, H', W', F] of the output."""
    if onednn and strides == (1, 1) and not is_product(x, kernel, strides, padding, FEW):
        turned = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
        around = [
            (side - 1 - before, side - 1 - after)
            for side, (before, after) in zip(kernel.shape, padding, strict=False)
        ]
        return over_three_axes(g, turned, strides, around)
    return jax.vjp(lambda x: plain(x, kernel, strides, padding), x)[1](g)[0]


def kernel_gradient(x, kernel, g, strides, padding, onednn):
    """Return the gradient of the kernel, given the gradient g: f32[N, H', W', F] of the output."""
    if onednn and kernel.shape[:2] != (1, 1):
        parts = len(x) // PART if g.shape[1] * g.shape[2] > 64 and len(x) % PART == 0 else 1
        pairs = zip(jnp.split(x, parts), jnp.split(g, parts), strict=True)
        kh, kw = kernel.shape[:2]
        return sum(correlate(a, b, strides, padding) for a, b in pairs)[:kh, :kw]
    if kernel.shape[:2] == (1, 1) and not any(map(any, padding)):
        x = x[:, :: strides[0], :: strides[1]].reshape(-1, x.shape[-1])
        product = lax.dot_general(x, g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ())))
        return product.reshape(kernel.shape)
    return jax.vjp(lambda kernel: plain(x, kernel, strides, padding), kernel)[1](g)[0]


def plain(x, kernel, strides, padding):
    """Return the output in a form whose gradients, derived by JAX, XLA computes fast."""
    if is_product(x, kernel, strides, padding, SMALL):
        return product(x, kernel, strides, padding)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


def over_three_axes(x, kernel, strides, padding):
    """Return the output as a convolution over an axis of length 1 and the two axes of the map."""
    y = lax.conv_general_dilated(
        x[:, None], kernel[None], (1, *strides), ((0, 0), *padding), dimension_numbers=NDHWC
    )
    return y[:, 0]


def correlate(x, g, strides, padding):
    """Return the gradient of the kernel: f32[>= kh, >= kw, C, F]; ignore entries beyond kh, kw.

    It is a convolution over the rows, columns and maps of one large image x, with g as a kernel
    of the size of that image, summed over the images of the batch. The maps are an axis so that
    many outputs lie in a row, which oneDNN keeps in registers.
    """
    numbers = lax.ConvDimensionNumbers(
        lhs_spec=(0, 1, 2, 3, 4), rhs_spec=(4, 0, 1, 2, 3), out_spec=(0, 4, 1, 2, 3)
    )
    around = (*padding, (0, 0))
    return lax.conv_general_dilated(
        x[None],
        g[:, :, :, None],
        (1, 1, 1),
        around,
        rhs_dilation=(*strides, 1),
        dimension_numbers=numbers,
    )[0]


def product(x, kernel, strides, padding):
    """Return the output as one matrix product with all windows side by side."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return convolve_patches(x, kernel, None, strides)


def is_product(x, kernel, strides, padding, most: int) -> bool:
    """Return whether to compute the output as a matrix product: if it has at most `most` positions.

    Windows of 1x1 are never computed this way; windows larger than the map always are.
    """
    h, w = (
        (x.shape[1 + i] + sum(padding[i]) - kernel.shape[i]) // strides[i] + 1 for i in range(2)
    )
    too_large = any(map(gt, kernel.shape[:2], x.shape[1:3]))  # oneDNN refuses these
    return (h * w <= most or too_large) and kernel.shape[:2] != (1, 1)
