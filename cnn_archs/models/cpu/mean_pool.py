"""Mean pooling as sums of shifted maps, down and then across; XLA:CPU's own form is slow.

Forward and gradient, milliseconds on one core of a Zen 4, jaxlib 0.12.0.1 (0.10.2 is as fast):

    window/stride on                             XLA   here  PyTorch
    5x5/3 128x8x8x512 (GoogLeNet's heads)         36    5.3      3.6
    3x3/1 16x35x35x288 (Inception-v3's modules)   38     23       14
"""

from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cnn_archs.models.cpu.max_pool import Padding


def mean_pool(x: jax.Array, window: int, stride: int, padding: Padding) -> jax.Array:
    """Return the mean over each `window` x `window`, every `stride` pixels. The padding is zeros.

    x: f32 or f64[N, H, W, C] -> [N, H', W', C]. padding: ((top, bottom), (left, right)). Other
    backends use XLA's operation.
    """
    if jax.default_backend() != "cpu":
        return nn.avg_pool(x, (window, window), (stride, stride), padding=padding)
    for axis, around in zip((1, 2), padding, strict=True):
        x = sums(x, axis, window, stride, around)
    return x / window**2


def sums(x: jax.Array, axis: int, window: int, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Return the sums of `window` neighbors along `axis`, one sum every `stride` positions."""
    around = [(0, 0, 0)] * x.ndim
    around[axis] = (*padding, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), around)
    starts = x.shape[axis] - window + 1
    return reduce(
        lax.add, (lax.slice_in_dim(x, i, i + starts, stride, axis) for i in range(window))
    )
