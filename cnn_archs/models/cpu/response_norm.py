"""Local response normalization (AlexNet, section 3.3), fast on a CPU too.

XLA:CPU sums windows one by one, computes powers through logarithms, and computes all of it again
for the gradient. Here the sum of a window is a sum of shifted maps, the denominator is stored, and
the power -3/4 is computed by two square roots. Forward and gradient, milliseconds on one core of a
Zen 4 (PyTorch's own layer takes twice as long as the shifted sums that it is compared with):

    on                  XLA 0.10.2  0.12.0.1   here 0.10.2  0.12.0.1   PyTorch
    128x32x32x64                95        98            55        27       228
    128x16x16x192               74        71            43        20       148
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from cnn_archs.models.cpu.isolate import isolate

Kept = tuple[jax.Array, jax.Array]


def local_response_norm(
    a: jax.Array, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
    """Return b_i = a_i / (k + alpha sum_j a_j^2)^beta, the sum over n neighboring maps around i.

    Symbols and constants are those of the paper. Unlike in Caffe, torch and the authors' later
    code, alpha is not divided by n; k is 2 (1 in Caffe). At the edges the sum has fewer terms.
    a: [N, H, W, C] of any float type -> the same shape and dtype, computed in float32 or better.

    On a CPU only the first reverse-mode derivative is defined.
    """
    wide = a.astype(jnp.promote_types(a.dtype, jnp.float32))
    if jax.default_backend() == "cpu":
        return normalized(wide, k, n, alpha, beta).astype(a.dtype)
    window, pad = (1, 1, 1, n), ((0, 0), (0, 0), (0, 0), (n // 2, (n - 1) // 2))
    squares = lax.reduce_window(wide**2, 0.0, lax.add, window, (1, 1, 1, 1), pad)
    return (wide * (k + alpha * squares) ** -beta).astype(a.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def normalized(a: jax.Array, k: float, n: int, alpha: float, beta: float) -> jax.Array:
    """Return the result of `local_response_norm` for a: f32 or f64[N, H, W, C], in the CPU form."""
    return forward(a, k, n, alpha, beta)[0]


def forward(a: jax.Array, k: float, n: int, alpha: float, beta: float) -> tuple[jax.Array, Kept]:
    """Return b, and the residuals for `backward`: a and its denominators d."""
    d = isolate(lambda a: k + alpha * neighbors(a * a, n // 2, (n - 1) // 2), a)
    return isolate(lambda a, d: a * power(d, beta), a, d), (a, d)


def backward(
    k: float, n: int, alpha: float, beta: float, kept: Kept, g: jax.Array
) -> tuple[jax.Array]:
    """Return g_i d_i^-beta - 2 alpha beta a_i sum_j g_j a_j d_j^(-beta-1), the gradient at a_i.

    The sum is over the maps j whose window contains i.
    """

    def gradient(a: jax.Array, d: jax.Array, g: jax.Array, terms: jax.Array) -> jax.Array:
        sums = neighbors(terms, (n - 1) // 2, n // 2)
        return g * power(d, beta) - 2 * alpha * beta * a * sums

    terms = isolate(lambda a, d, g: g * a * power(d, beta) / d, *kept, g)
    return (isolate(gradient, *kept, g, terms),)


normalized.defvjp(forward, backward)


def neighbors(x: jax.Array, before: int, after: int) -> jax.Array:
    """Return the sums of each map with `before` maps before it and `after` maps after it."""
    around = ((0, 0, 0), (0, 0, 0), (0, 0, 0), (before, after, 0))
    padded, maps = lax.pad(x, jnp.zeros((), x.dtype), around), x.shape[-1]
    shifted = (lax.slice_in_dim(padded, i, i + maps, axis=3) for i in range(before + after + 1))
    return reduce(lax.add, shifted)


def power(d: jax.Array, beta: float) -> jax.Array:
    """Return d^-beta; for the papers' beta of 3/4, by square roots."""
    root = lax.rsqrt(d)
    return root * lax.sqrt(root) if beta == 0.75 else d**-beta
