"""Batch normalization of a training step as a function of a matrix, with its own gradient."""

from functools import partial
from math import gcd

import jax
import jax.numpy as jnp
from jax import lax

LANES = 256  # numbers of a row that are added at once
BLOCKS = 8  # parts that different cores sum
FAR = 16.0  # squared mean / variance up to which the difference of squares is exact enough


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalize the columns of x: f32[M, C] -> (y: f32[M, C], mean: f32[C], variance: f32[C]).

    The variance is the biased one. No gradient flows through mean and variance.
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
    mean, variance = moments(x)
    inverse = lax.rsqrt(variance + epsilon)
    y = (x - mean[None]) * (scale * inverse)[None] + bias[None]
    return (y, mean, variance), (x, scale, mean, variance)


def _backward(epsilon, kept, cotangents):
    x, scale, mean, variance = kept
    g, inverse = cotangents[0], lax.rsqrt(variance + epsilon)
    dbias = column_sums(g)
    dscale = inverse * lax.cond(
        is_far(mean, variance),
        lambda: column_sums(g * (x - mean[None])),
        lambda: column_sums(g, x) - mean * dbias,
    )
    slope = (inverse * dscale / len(x))[None]
    dx = (g - (dbias / len(x))[None] - (x - mean[None]) * slope) * (scale * inverse)[None]
    return dx, dscale, dbias


normalize.defvjp(_forward, _backward)


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean and the biased variance of the columns of x: f32[M, C], as f32[C] each.

    They are computed from the sums of x and of its squares in one pass over x. If a mean is so far
    from 0 that the difference of the squares would lose digits, the variance takes a second pass.
    """
    mean = column_sums(x) / len(x)
    quick = jnp.maximum(column_sums(x, x) / len(x) - jnp.square(mean), 0.0)
    variance = lax.cond(
        is_far(mean, quick),
        lambda: column_sums(jnp.square(x - mean[None])) / len(x),
        lambda: quick,
    )
    return mean, variance


def is_far(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Return whether any mean is more than 4 standard deviations from 0: bool[]."""
    return jnp.any(jnp.square(mean) > FAR * variance)


def column_sums(x: jax.Array, factor: jax.Array | None = None) -> jax.Array:
    """Return the sums over the rows of x: f32[M, C], or of x * factor, as f32[C].

    XLA:CPU adds long rows fastest, and uses several cores only for the sums of several blocks. So
    the matrix is read as BLOCKS blocks of long rows, each made of several rows of x side by side.
    """
    rows, channels = x.shape
    beside = gcd(rows, max(1, LANES // channels))
    shape = (gcd(rows // beside, BLOCKS), -1, beside * channels)
    terms = x.reshape(shape)
    if factor is not None:
        terms = terms * factor.reshape(shape)
    return terms.sum(1).sum(0).reshape(beside, channels).sum(0)
