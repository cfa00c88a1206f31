"""Convolutions in another order of sums are those of lax, and so are their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_archs.models.cpu import convolution

PLAIN = dict(
    lhs_dilation=(1, 1),
    rhs_dilation=(1, 1),
    dimension_numbers=lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
)
CASES = [  # side of the image, window, stride, padding
    (2, 3, 1, (1, 1)),
    (1, 3, 1, (1, 1)),
    (4, 3, 2, (1, 1)),
    (4, 5, 1, (2, 2)),
    (5, 2, 2, (0, 0)),
    (9, 3, 2, (0, 1)),
    (8, 7, 2, (3, 3)),
    (16, 11, 4, (2, 2)),
]


def both(side, window, stride, padding, **options):
    """(ours, lax's) of (sums, gradients), and whether ours is a convolution to XLA."""
    random = np.random.default_rng(side)
    x = random.normal(size=(3, side, side, 4)).astype(np.float32)
    channels = 4 // options.get("feature_group_count", 1)
    kernel = random.normal(0, 1 / window, size=(window, window, channels, 6)).astype(np.float32)

    def of(f):
        def loss(x, kernel):
            y = f(x, kernel, (stride, stride), (padding, padding), **PLAIN | options)
            return jnp.sum(jnp.sin(y)), y

        run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        (_, y), grads = run(x, kernel)
        return (y, *grads), "conv_general_dilated" in str(jax.make_jaxpr(run)(x, kernel))

    ours, is_convolution = of(convolution.convolve_small_maps)
    return ours, of(lax.conv_general_dilated)[0], is_convolution


@pytest.mark.parametrize("side, window, stride, padding", CASES)
def test_a_small_map_is_one_matrix_product(side, window, stride, padding):
    ours, theirs, is_convolution = both(side, window, stride, padding)
    assert not is_convolution
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "side, window, options",
    [
        (9, 3, {}),
        (3, 1, {}),
        (3, 3, dict(feature_group_count=2)),
        (3, 2, dict(rhs_dilation=(2, 2))),
    ],
)
def test_others_are_left_to_xla(side, window, options):
    ours, theirs, is_convolution = both(side, window, 1, (1, 1), **options)
    assert is_convolution
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_elsewhere_than_on_a_cpu_all_are(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert both(2, 3, 1, (1, 1))[2]
