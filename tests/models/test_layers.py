"""The layers that papers share: golden values, windows, statistics, gradients in float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from jax.test_util import check_grads

from cnn_archs.models import layers, lenet, residual_units
from cnn_archs.models.cpu.response_norm import local_response_norm
from cnn_archs.models.layers import LRN, BatchNorm, ConvNorm, FullyConnected, relu
from cnn_archs.models.pooling import AdaptiveAvgPool, AvgPool, GlobalAvgPool, MaxPool
from cnn_archs.optim import losses

F = torch.nn.functional


def images(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def nchw(x):
    return torch.tensor(np.asarray(x)).movedim(-1, 1)


def nhwc(x):
    return x.movedim(1, -1).numpy()


# --- Local response normalization ----------------------------------------------------------------

# fmt: off
HUNDREDS = np.arange(100.0, 900.0, 100.0)
LRN_VALUES = [  # constants, what goes in, what comes out at one pixel of 8 maps
    (dict(), HUNDREDS,
     [12.5, 14.865089, 14.461559, 13.465396, 12.48618, 11.632561, 14.486502, 18.57194]),
    (dict(alpha=1e-4 / 5), HUNDREDS,  # the authors' later code
     [30.836784, 42.044821, 43.819129, 42.294851, 40.010272, 37.723003, 46.850278, 59.740609]),
    (dict(k=1.0, alpha=1e-4 / 5), HUNDREDS,  # Caffe's and torch's defaults
     [36.741959, 46.473616, 46.530243, 43.953634, 41.077261, 38.446145, 47.828391, 61.189506]),
    (dict(), np.ones(8),
     [0.59453667, 0.59451438, *[0.59449209] * 4, 0.59451438, 0.59453667]),
]
# fmt: on


@pytest.mark.parametrize("constants, values, expected", LRN_VALUES)
def test_lrn_has_these_values(constants, values, expected):
    a = jnp.asarray(values, jnp.float32).reshape(1, 1, 1, 8)
    found = local_response_norm(a, **constants)
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-6)


def test_lrn_is_torchs_with_its_constants():
    x = 30 * images((2, 3, 4, 11))
    found = local_response_norm(x, k=1.0, n=5, alpha=3e-4 / 5, beta=0.6)
    expected = F.local_response_norm(nchw(x), 5, alpha=3e-4, beta=0.6, k=1.0)
    np.testing.assert_allclose(found, nhwc(expected), rtol=1e-5)


def test_lrn_of_bfloat16_is_computed_in_float32():
    x = jnp.asarray(HUNDREDS, jnp.bfloat16).reshape(1, 1, 1, 8)
    found: Any = LRN().apply({}, x)
    assert found.dtype == jnp.bfloat16
    wide = local_response_norm(x.astype(jnp.float32))
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))


# --- Windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window, stride, padding", [(3, 2, 0), (2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 0), (2, 3, 0)]
)
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pools_have_torchs_windows(window, stride, padding, ceil):
    """Values, not shapes: windows in another place give the same shape."""
    maps = [images((1, size, size + 1, 2)) for size in range(5, 17)]
    pool = MaxPool(window, stride, padding, ceil)
    pooled = jax.jit(lambda maps: [pool.apply({}, x) for x in maps])(maps)
    for x, found in zip(maps, pooled, strict=True):
        np.testing.assert_array_equal(
            found, nhwc(F.max_pool2d(nchw(x), window, stride, padding, ceil_mode=ceil))
        )


def test_two_relus_of_bfloat16_and_a_pool_have_these_values():
    """Multiples of 1/2, hence exact. With `nn.relu`, jaxlib 0.12.0.1 gives NaN."""
    x = np.random.default_rng(0).integers(-4, 5, (4, 16, 16, 64)) / 2
    pooled = jax.jit(lambda x: MaxPool(2, 2).apply({}, relu(1 - relu(x))))
    found = pooled(jnp.asarray(x, jnp.bfloat16))
    expected = np.maximum(1 - np.maximum(x, 0), 0).reshape(4, 8, 2, 8, 2, 64).max((2, 4))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(found), expected)
    slope = jax.grad(lambda x: relu(x).sum().astype(jnp.float32))
    np.testing.assert_array_equal(
        np.float32(slope(jnp.asarray([-1, 0, 2], jnp.bfloat16))), [0, 0, 1]
    )


def test_ceil_mode_is_googlenets_chain():
    """112 -> 56 -> 28 -> 14 -> 7 with 3x3/2 and no padding; floor mode has 55, 27, 13, 6."""
    sides = {True: [112], False: [112]}
    for ceil, found in sides.items():
        x: Any = jnp.zeros((1, 112, 112, 1))
        for _ in range(4):
            x = MaxPool(3, 2, ceil=ceil).apply({}, x)
            found.append(x.shape[1])
    assert sides == {True: [112, 56, 28, 14, 7], False: [112, 55, 27, 13, 6]}


def test_ceil_mode_is_not_padding_by_one():
    """Both halve an even map. The windows of the one begin at 0, of the other at -1."""
    ramp = jnp.arange(64.0).reshape(1, 8, 8, 1)
    ceil: Any = MaxPool(3, 2, ceil=True).apply({}, ramp)
    padded: Any = MaxPool(3, 2, padding=1).apply({}, ramp)
    assert ceil.shape == padded.shape == (1, 4, 4, 1)
    assert ceil[0, 0, 0, 0] == 18.0 and padded[0, 0, 0, 0] == 9.0  # of 3x3 and of 2x2 pixels


@pytest.mark.parametrize("window, stride, padding", [(5, 3, 0), (3, 1, 1), (2, 2, 0)])
def test_mean_pools_are_torchs(window, stride, padding):
    x = images((2, 11, 14, 3))
    found: Any = AvgPool(window, stride, padding).apply({}, x)
    expected = nhwc(F.avg_pool2d(nchw(x), window, stride, padding))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window, stride, padding", [(3, 2, 0), (3, 2, 1), (2, 2, 0), (4, 3, 2)])
@pytest.mark.parametrize("size", [7, 8, 9, 10])
def test_mean_pool_in_ceil_mode_is_torchs(size, window, stride, padding):
    x = images((2, size, size + 1, 3))
    found: Any = AvgPool(window, stride, padding, ceil=True).apply({}, x)
    expected = nhwc(F.avg_pool2d(nchw(x), window, stride, padding, ceil_mode=True))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [4, 5, 8, 13, 14, 15])
def test_adaptive_pool_is_torchs(side):
    x = images((2, side, side + 3, 3))
    found: Any = AdaptiveAvgPool(4).apply({}, x)
    np.testing.assert_allclose(found, nhwc(F.adaptive_avg_pool2d(nchw(x), 4)), rtol=1e-5, atol=1e-6)


# --- Dense layers as convolutions ----------------------------------------------------------------


def test_a_dense_layer_on_a_larger_map_is_its_convolution():
    layer = FullyConnected(5, jax.nn.initializers.normal(1.0), jax.nn.initializers.normal(1.0))
    small, large = images((2, 3, 4, 6)), images((2, 5, 4, 6), seed=1)
    variables = layer.init(jax.random.key(0), small)
    assert variables["params"]["kernel"].shape == (3, 4, 6, 5)
    kernel = torch.tensor(np.asarray(variables["params"]["kernel"])).permute(3, 2, 0, 1)
    bias = torch.tensor(np.asarray(variables["params"]["bias"]))
    found: Any = layer.apply(variables, large)
    assert found.shape == (2, 3, 1, 5)
    expected = F.conv2d(nchw(large), kernel, bias)
    np.testing.assert_allclose(found, nhwc(expected), rtol=1e-4, atol=1e-4)
    flat = F.linear(nchw(small).reshape(2, -1), kernel.reshape(5, -1), bias)
    found = layer.apply(variables, small)
    np.testing.assert_allclose(found[:, 0, 0], flat, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="takes maps of 3x4 or larger, not 2x4"):
        layer.apply(variables, small[:, 1:])


def test_the_fans_of_a_dense_layer_are_not_those_of_a_convolution():
    """Glorot: the variance is 2 / (7*7*8 + 64), not 2 / (7*7*8 + 7*7*64)."""
    layer = FullyConnected(64, layers.INITIALIZERS["glorot"])
    kernel = layer.init(jax.random.key(0), jnp.zeros((1, 7, 7, 8)))["params"]["kernel"]
    assert np.var(kernel) == pytest.approx(2 / (7 * 7 * 8 + 64), rel=0.03)


# --- Batch normalization -------------------------------------------------------------------------


def variables_of(x, **fields):
    norm = BatchNorm(**fields)
    random = np.random.default_rng(5)
    shapes = jax.eval_shape(
        lambda key: norm.init(key, jnp.asarray(x), train=True), jax.random.key(0)
    )
    return norm, jax.tree.map(
        lambda s: random.uniform(0.5, 1.5, s.shape).astype(np.float32), shapes
    )


@pytest.mark.parametrize("group", [0, 4, 2, 8])
def test_each_group_is_normalized_by_itself_as_torch_does(group):
    x = 2 + 3 * images((8, 3, 4, 5))
    norm, variables = variables_of(x, group=group)
    found, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    scale, bias = (torch.tensor(variables["params"][k]) for k in ("scale", "bias"))
    size = group or len(x)
    parts = [x[i : i + size] for i in range(0, len(x), size)]
    expected = [F.batch_norm(nchw(p), None, None, scale, bias, training=True) for p in parts]
    np.testing.assert_allclose(found, nhwc(torch.cat(expected)), rtol=1e-4, atol=1e-5)
    for name, of_part in (("mean", np.mean), ("var", np.var)):
        batch = np.mean([of_part(p, axis=(0, 1, 2)) for p in parts], axis=0)
        old = variables["batch_stats"][name]
        np.testing.assert_allclose(updates["batch_stats"][name], 0.9 * old + 0.1 * batch, rtol=1e-5)


def test_in_evaluation_the_running_statistics_are_used_and_kept():
    x = images((3, 3, 4, 5))
    norm, variables = variables_of(x, group=2)  # which does not matter here
    found, updates = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    stats, params = variables["batch_stats"], variables["params"]
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], stats)


def test_a_group_that_does_not_divide_the_batch_is_an_error():
    x = images((6, 3, 4, 5))
    norm, variables = variables_of(x, group=4)
    with pytest.raises(ValueError, match="bn_group=4 does not divide the batch of 6"):
        norm.apply(variables, x, train=True, mutable=["batch_stats"])


def test_bfloat16_maps_have_float32_statistics():
    x = (2 + 3 * images((8, 3, 4, 5))).astype(jnp.bfloat16)
    norm, variables = variables_of(x, dtype="bfloat16")
    found, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    assert found.dtype == jnp.bfloat16
    assert updates["batch_stats"]["mean"].dtype == updates["batch_stats"]["var"].dtype == np.float32
    wide, _ = BatchNorm().apply(
        variables, x.astype(np.float32), train=True, mutable=["batch_stats"]
    )
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))


def test_the_variance_of_maps_far_from_0_is_not_lost():
    """Mean 1000, deviation 1: the squares differ in the seventh digit, which float32 has not."""
    x = 1e3 + images((8, 8, 8, 5))
    norm = BatchNorm()
    stats = {"mean": np.full(5, 1e3, np.float32), "var": np.ones(5, np.float32)}
    params = {"scale": np.ones(5), "bias": np.zeros(5)}
    variables: dict[str, Any] = {"params": params, "batch_stats": stats}
    found, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    wide = x.astype(np.float64)
    expected = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    batch = 0.9 * 1e3 + 0.1 * wide.mean((0, 1, 2))
    np.testing.assert_allclose(updates["batch_stats"]["mean"], batch, rtol=1e-6)


def test_a_map_without_variance_does_not_divide_by_nothing():
    x = np.full((4, 2, 2, 1), 1e3, np.float32)
    norm, variables = variables_of(x)
    found, _ = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    assert np.isfinite(found).all()


# --- Gradients -----------------------------------------------------------------------------------

HE = layers.INITIALIZERS["he"]
MAPS = (4, 5, 6, 7)
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], dict[str, Any]]] = {
    "LRN": (LRN(), MAPS, {}),
    "MaxPool": (MaxPool(3, 2, ceil=True), MAPS, {}),
    "AvgPool": (AvgPool(3, 2, padding=1), MAPS, {}),
    "AdaptiveAvgPool": (AdaptiveAvgPool(3), MAPS, {}),
    "GlobalAvgPool": (GlobalAvgPool(), MAPS, {}),
    "FullyConnected": (FullyConnected(3, HE, dtype="float64"), MAPS, {}),
    "BatchNorm": (BatchNorm(group=2, dtype="float64"), MAPS, {"train": True}),
    "BatchNorm, tested": (BatchNorm(dtype="float64"), MAPS, {"train": False}),
    "ConvNorm": (ConvNorm(3, (3, 3), HE, 2, 1, dtype="float64"), MAPS, {"train": True}),
    "PaddedShortcut": (residual_units.PaddedShortcut(9, 2), MAPS, {}),
    "Subsample": (lenet.Subsample(), (2, 4, 6, 3), {}),
    "TableConv": (lenet.TableConv(), (2, 6, 7, 6), {}),
    "RBF": (lenet.RBF(), (3, 84), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_differences(name):
    layer, shape, options = LAYERS[name]
    with jax.enable_x64(True):
        x = jnp.asarray(3 * np.random.default_rng(0).normal(size=shape))
        init = jax.jit(partial(layer.init, **options))
        variables = init(jax.random.key(0), x.astype(jnp.float32))
        variables = jax.tree.map(lambda v: v.astype(jnp.float64), variables)
        stats = {k: v for k, v in variables.items() if k != "params"}

        @jax.jit
        def output(params, x):
            v = {"params": params, **stats}
            return layer.apply(v, x, mutable=["batch_stats"], **options)[0]

        modes = ("rev",) if name in ("LRN", "MaxPool") else ("fwd", "rev")  # see those
        check_grads(output, (variables.get("params", {}), x), order=1, modes=modes)


@pytest.mark.parametrize("function", [lenet.squash, *losses.LOSSES])
def test_gradients_of_functions_are_those_of_differences(function):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 10)))
        if isinstance(function, str):
            knobs = {"rbf_map": {"j": 1.0}, "cross_entropy": {"smoothing": 0.1}}
            loss = losses.create(function, **knobs.get(function, {}))
            of_x = jax.jit(lambda x: loss(x, jnp.arange(5)))
            check_grads(of_x, (x,), order=1, modes=("fwd", "rev"))
        else:
            check_grads(jax.jit(function), (x,), order=1, modes=("fwd", "rev"))


# --- Helpers -------------------------------------------------------------------------------------


def test_scaled_widths():
    assert [layers.scaled(96, f) for f in (1.0, 0.5, 1 / 16, 0.001)] == [96, 48, 6, 1]
    assert [layers.scaled(96, f, 2) for f in (1.0, 0.05, 0.001)] == [96, 4, 2]


def test_an_unknown_choice_names_those_that_there_are():
    with pytest.raises(ValueError, match="activation 'swish' is not one of identity, tanh, relu"):
        layers.activation("swish")
