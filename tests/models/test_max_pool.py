"""Max pooling on a CPU: the values and gradients of XLA and torch, ties included, but faster."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cpu_time import median_seconds

from cnn_archs.models.cpu.max_pool import max_pool
from cnn_archs.models.pooling import MaxPool

CASES = [  # window, stride, padding
    (3, 2, ((0, 0), (0, 0))),
    (3, 2, ((0, 1), (0, 1))),
    (3, 2, ((1, 1), (1, 1))),
    (3, 1, ((1, 1), (1, 1))),
    (2, 2, ((0, 0), (0, 1))),
    (5, 3, ((2, 1), (0, 3))),
    (2, 3, ((0, 0), (1, 0))),
    (5, 1, ((4, 0), (2, 2))),
    (12, 11, ((3, 0), (0, 1))),  # whose places do not fit into a byte
]


def xla(x, window, stride, padding):
    return nn.max_pool(x, (window, window), (stride, stride), padding=padding)


def maps(shape, dtype, values=(0.0, 0.5, 1.0)):
    """f[shape]: few different values, so that most windows have ties."""
    return np.random.default_rng(0).choice(values, shape).astype(dtype)


def maximum_and_gradient(pool, x):
    """pool(x), and the gradient of whole cotangents, whose sums are exact in any order."""

    def run(x, cotangent):
        y, vjp = jax.vjp(pool, x)
        return y, vjp(cotangent)[0]

    y = jax.eval_shape(pool, x)
    cotangent = np.random.default_rng(1).integers(-4, 5, y.shape).astype(y.dtype)
    return jax.jit(run)(x, cotangent), cotangent


@pytest.mark.parametrize("window, stride, padding", CASES)
def test_maxima_and_gradients_are_xlas_bit_for_bit(window, stride, padding):
    options = dict(window=window, stride=stride, padding=padding)
    x = maps((2, 15, 18, 3), np.float32, (0.0, 0.5, -2.0, np.inf, -np.inf, np.nan))
    ours, _ = maximum_and_gradient(partial(max_pool, **options), x)
    theirs, _ = maximum_and_gradient(partial(xla, **options), x)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64])
def test_other_floats_are_xlas_too(dtype):
    with jax.enable_x64(True):
        x = maps((2, 9, 9, 3), dtype)
        ours, _ = maximum_and_gradient(lambda x: max_pool(x, 3, 2, ((0, 1), (1, 0))), x)
        theirs, _ = maximum_and_gradient(lambda x: xla(x, 3, 2, ((0, 1), (1, 0))), x)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("window, stride, pad, ceil", [(3, 2, 0, True), (3, 1, 1, False)])
def test_a_tie_is_won_by_the_place_that_wins_in_torch(window, stride, pad, ceil):
    x = maps((2, 8, 11, 4), np.float32)
    (_, found), cotangent = maximum_and_gradient(
        lambda x: MaxPool(window, stride, pad, ceil).apply({}, x), x
    )
    leaf = torch.tensor(x).movedim(-1, 1).requires_grad_()
    y = torch.nn.functional.max_pool2d(leaf, window, stride, pad, ceil_mode=ceil)
    y.backward(torch.tensor(cotangent).movedim(-1, 1))
    assert leaf.grad is not None
    np.testing.assert_array_equal(found, leaf.grad.movedim(1, -1).numpy())


def test_several_at_once_and_computed_again_it_is_the_same():
    pool = partial(max_pool, window=3, stride=2, padding=((0, 1), (0, 1)))
    x = maps((3, 2, 8, 8, 4), np.float32)
    (y, gradient), cotangent = maximum_and_gradient(jax.vmap(jax.checkpoint(pool)), x)
    for i in range(3):
        one, vjp = jax.vjp(partial(xla, window=3, stride=2, padding=((0, 1), (0, 1))), x[i])
        np.testing.assert_array_equal(y[i], one)
        np.testing.assert_array_equal(gradient[i], vjp(cotangent[i])[0])


@pytest.mark.parametrize("batched", [False, True])
def test_nothing_is_fused_into_the_gradient(batched):
    """The maxima, their places and the gradient stay three calls, with no call within them."""
    pool = partial(max_pool, window=3, stride=2, padding=((0, 1), (0, 1)))
    pool = jax.vmap(pool) if batched else pool

    def loss(x):
        return jnp.sum(jnp.tanh(pool(jnp.tanh(x))) ** 2)

    lowered = jax.jit(jax.value_and_grad(loss)).lower(jnp.zeros((2,) * batched + (2, 8, 8, 4)))
    text = lowered.compile().as_text()
    assert text and text.count(" call(") == 3


@pytest.mark.parametrize("window, stride, padding", [CASES[1], CASES[3]])
def test_the_gradient_is_faster_than_xlas(window, stride, padding):
    """2.5 to 10 times as fast, by the CPU. If it fails, XLA may be as good by itself."""

    def gradient(pool):
        return jax.grad(lambda x: pool(x, window, stride, padding).sum())

    x = jnp.asarray(maps((8, 32, 32, 64), np.float32))
    ours, theirs = median_seconds(15, x, gradient(max_pool), gradient(xla))
    assert ours < theirs
