"""Batch normalization of a training step for accelerators, in few kernels.

A small network spends more time on launching kernels than in them. So both sums of a batch
normalization are taken by one kernel, in the gradient as well, and the gradient is written out.
"""

from functools import partial
from math import gcd

import jax
import jax.numpy as jnp
from jax import lax

PARTS = 256  # parts of a map that are summed side by side, before their sums are added


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalize_groups(
    x: jax.Array, near: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalize each channel of each group of x: [G, M, C] -> (y: f32[G, M, C], mean, variance).

    mean, variance: f32[G, C], through which no gradient flows; the variance is the biased one.
    near: f32[C], values that are subtracted before squares are summed, such as earlier means: the
    nearer to the means, the more digits the variance keeps. No gradient flows to them.
    """
    return _forward(x, near, scale, bias, epsilon)[0]


def _forward(x, near, scale, bias, epsilon):
    wide = x.astype(jnp.float32)
    shifted = wide - near[None, None]
    mean, square = sums(shifted, jnp.square(shifted)) / x.shape[1]
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    # Behind the barrier both are computed by one kernel, and not again by each that uses them.
    mean, inverse = lax.optimization_barrier((mean + near[None], lax.rsqrt(variance + epsilon)))
    y = (wide - mean[:, None]) * (scale[None] * inverse)[:, None] + bias[None, None]
    return (y, mean, variance), (x, scale, mean, inverse)


def _backward(epsilon, kept, cotangents):
    (x, scale, mean, inverse), g = kept, cotangents[0]
    away, count = x.astype(jnp.float32) - mean[:, None], x.shape[1]
    total, slope = sums(g, g * away)
    slope = slope * inverse
    even, along = total / count, slope * inverse / count
    dx = (g - even[:, None] - away * along[:, None]) * (scale[None] * inverse)[:, None]
    return dx.astype(x.dtype), jnp.zeros_like(scale), slope.sum(0), total.sum(0)


normalize_groups.defvjp(_forward, _backward)


def sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the sums of a and b, f32[G, M, C] each, over M: f32[2, G, C].

    They are taken in two steps, as XLA sums tall matrices on a GPU, but in one kernel each.
    """
    groups, rows, channels = a.shape
    parts = gcd(rows, PARTS)
    halves = [term.reshape(groups, parts, -1, channels).sum(2) for term in (a, b)]
    return jnp.stack(halves).sum(2)
