"""Batch normalization over a matrix: its values and gradients against float64 and torch."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image

from cnn_archs import config as configs
from cnn_archs import experiment
from cnn_archs.errors import ConfigError
from cnn_archs.models.batch_statistics import normalize_groups
from cnn_archs.models.cpu.batch_norm import column_sums, is_far, moments, normalize
from cnn_archs.models.cpu.training_step import training_step
from cnn_archs.models.layers import BatchNorm
from cnn_archs.training import placement

EPSILON = 1e-5


def random(shape, seed=0, far=0.0):
    """f32[shape]: normal, with a mean of `far` standard deviations in every second column."""
    x = np.random.default_rng(seed).normal(size=shape)
    return (x + far * (np.arange(shape[-1]) % 2)).astype(np.float32)


def naive(x, scale, bias):
    """The formula of the paper, in whatever dtype x has."""
    mean = x.mean(0, keepdims=True)
    variance = jnp.square(x - mean).mean(0, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + EPSILON) * scale[None] + bias[None]


def ours(x, scale, bias):
    return normalize(x, scale, bias, EPSILON)[0]


def with_gradients(f, x, scale, bias, g):
    def run(x, scale, bias, g):
        y, vjp = jax.vjp(f, x, scale, bias)
        return y, *vjp(g)

    return jax.jit(run)(x, scale, bias, g)


def arguments(rows, channels, far):
    scale, bias = (1 + 0.1 * random((channels,), seed) for seed in (1, 2))
    return random((rows, channels), far=far), scale, bias, random((rows, channels), 3)


def check_close(found, expected, error):
    """Assert that no number differs by more than `error` times the largest one expected."""
    for name, a, b in zip(("y", "dx", "dscale", "dbias"), found, expected, strict=True):
        b = np.asarray(b)
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= error * np.abs(b).max(), name


# Of 1,000 standard deviations, the float32 numbers themselves have 6e-5 of one.
SHAPES = [(64, 16, 0.0), (512, 3, 0.0), (45, 7, 0.0), (7, 300, 0.0), (2048, 5, 7.0), (96, 8, 1e3)]


@pytest.mark.parametrize("rows, channels, far", SHAPES)
def test_values_and_gradients_are_those_of_the_formula_in_float64(rows, channels, far):
    given = arguments(rows, channels, far)
    found = with_gradients(ours, *given)
    with jax.enable_x64(True):
        expected = with_gradients(naive, *(np.float64(x) for x in given))
        assert expected[0].dtype == np.float64
    assert all(x.dtype == np.float32 for x in found)
    check_close(found, expected, 5e-4 if far > 100 else 2e-5 if far else 3e-6)


def test_means_far_from_0_take_the_second_pass():
    """One pass alone would lose all digits here."""
    x = random((4096, 4), far=1e4)
    mean, variance = jax.jit(moments)(x)
    wide = np.float64(x)
    assert is_far(mean, variance)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(variance, wide.var(0), rtol=1e-3)
    one_pass = np.float32(np.square(x).mean(0)) - np.square(x.mean(0))
    assert np.abs(one_pass - wide.var(0)).max() > 1.0
    near = random((4096, 4), far=3.0)
    assert not is_far(*moments(near))


def test_a_single_row_and_constant_columns_become_the_bias():
    bias = np.asarray([1.0, -2.0, 3.0], np.float32)
    for rows in (1, 24):
        x = np.broadcast_to(np.asarray([0.0, 5.0, -1e3], np.float32), (rows, 3))
        y, dx, dscale, dbias = with_gradients(
            ours, x, np.ones(3, np.float32), bias, np.ones((rows, 3), np.float32)
        )
        np.testing.assert_array_equal(y, np.broadcast_to(bias, (rows, 3)))
        np.testing.assert_array_equal(dx, np.zeros((rows, 3)))
        np.testing.assert_array_equal(dscale, np.zeros(3))
        np.testing.assert_array_equal(dbias, np.full(3, rows))


@pytest.mark.parametrize("rows, channels, far", [(90, 16, 0.0), (33, 7, 30.0)])
def test_values_and_gradients_are_torchs(rows, channels, far):
    given = arguments(rows, channels, far)
    leaves: Any = [torch.tensor(a, requires_grad=True) for a in given[:3]]
    x, scale, bias = leaves
    y = torch.nn.functional.batch_norm(x, None, None, scale, bias, training=True, eps=EPSILON)
    y.backward(torch.tensor(given[3]))
    expected = (y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves))
    check_close(with_gradients(ours, *given), expected, 1e-5)


@pytest.mark.parametrize("rows, channels", [(1, 1), (8, 16), (45, 7), (5, 300), (128, 256)])
def test_column_sums_are_exact_where_float32_is(rows, channels):
    x, factor = np.random.default_rng(0).integers(-8, 9, (2, rows, channels)).astype(np.float32)
    np.testing.assert_array_equal(column_sums(jnp.asarray(x)), x.sum(0))
    found = column_sums(jnp.asarray(x), jnp.asarray(factor))
    np.testing.assert_array_equal(found, (x * factor).sum(0))


# --- In the layer --------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [0, 4, 2])
def test_the_layer_gives_the_same_in_a_training_step_on_a_cpu(group):
    """Values, gradients and running statistics, with one group and with several."""
    layer = BatchNorm(group)
    x, g = (random((8, 3, 5, 6), seed, far=2.0) for seed in (0, 1))
    variables = layer.init(jax.random.key(0), x, train=True)
    start = jax.tree.map(lambda v: v + 0.5, variables)

    def run(params, x):
        y, updates = layer.apply(
            {**start, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return (y * g).sum(), (y, updates)

    def inside(*arguments):
        with training_step(onednn=False):
            return run(*arguments)

    found, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(start["params"], x)
        for f in (inside, run)
    )
    assert "custom_vjp" in str(jax.make_jaxpr(inside)(start["params"], x))
    assert "custom_vjp" not in str(jax.make_jaxpr(run)(start["params"], x))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("group", [0, 4, 2])
@pytest.mark.parametrize("dtype, error", [("float32", 2e-5), ("bfloat16", 2e-2)])
def test_the_layer_gives_the_same_on_an_accelerator(group, dtype, error, monkeypatch):
    """Values, gradients and running statistics."""
    layer = BatchNorm(group, dtype=dtype)
    x, g = (random((8, 6, 5, 6), seed, far=2.0) for seed in (0, 1))
    variables = layer.init(jax.random.key(0), x, train=True)
    start = jax.tree.map(lambda v: v + 0.5, variables)
    x = jnp.asarray(x, dtype)

    def computed(backend):
        def run(params, x):  # a new function, so that jax traces it anew
            y, updates = layer.apply(
                {**start, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (y * g).astype(jnp.float32).sum(), (y, updates)

        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        found = jax.value_and_grad(run, (0, 1), has_aux=True)
        assert ("custom_vjp" in str(jax.make_jaxpr(run)(start["params"], x))) == (backend == "gpu")
        return jax.jit(found)(start["params"], x)

    found, expected = computed("gpu"), computed("cpu")
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = (np.asarray(z, np.float32) for z in (a, b))
        assert np.abs(a - b).max() <= error * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("rows, channels, far", SHAPES[:-1])
def test_on_an_accelerator_it_is_the_formula_in_float64_too(rows, channels, far):
    given = arguments(rows, channels, far)
    near = given[0].mean(0) + 0.1  # as a running mean is

    def one_group(x, scale, bias):
        return normalize_groups(x[None], near, scale, bias, EPSILON)[0][0]

    found = with_gradients(one_group, *given)
    with jax.enable_x64(True):
        expected = with_gradients(naive, *(np.float64(x) for x in given))
    check_close(found, expected, 2e-5 if far else 3e-6)


def test_running_statistics_are_the_means_of_the_groups():
    """By numpy: running <- 0.9 running + 0.1 batch, of the biased variance."""
    x = random((6, 2, 2, 3), far=2.0)
    layer = BatchNorm(3)
    with training_step(onednn=False):
        variables = layer.init(jax.random.key(0), x, train=True)
        _, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    groups = np.float64(x).reshape(2, -1, 3)
    found = updates["batch_stats"]
    np.testing.assert_allclose(found["mean"], 0.1 * groups.mean(1).mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * groups.var(1).mean(0), rtol=1e-5)


# --- Statistics of a single value --------------------------------------------------------------


@pytest.mark.parametrize("shape, group", [((1, 1, 1, 5), 0), ((4, 1, 1, 5), 1)])
@pytest.mark.parametrize("on_cpu", [False, True])
def test_one_value_minus_its_mean_is_refused(shape, group, on_cpu):
    norm, x = BatchNorm(group), random(shape)
    variables = norm.init(jax.random.key(0), x, train=True)
    with contextlib.ExitStack() as stack, pytest.raises(ValueError, match="a single value"):
        if on_cpu:
            stack.enter_context(training_step(onednn=False))
        norm.apply(variables, x, train=True, mutable=["batch_stats"])
    norm.apply(variables, x, train=False)  # takes the running statistics


SMALL = (
    *("data.image_shape=(4,4,3)", "crop.name=none", "data.holdout=0", "schedule.name=constant"),
    "model.bn_group=0",
)
ONE_IMAGE = {
    "batch": ("data.batch_size=1",),
    "micro-batch": ("data.batch_size=4", "data.micro_batch=1"),
    "group": ("data.batch_size=4", "model.bn_group=1"),
    "device": ("data.batch_size=1", "model.bn_group=-1"),
}


@pytest.mark.parametrize("keys", ONE_IMAGE.values(), ids=ONE_IMAGE)
def test_a_config_that_normalizes_one_value_is_refused(keys, tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / part / name / "0.png")
    data = ("data.name=image_folder", f"data.data_dir={tmp_path}")

    def place(*more):
        config = configs.load_config("resnet_cifar10:20", [*SMALL, *data, *more])
        placement.place_model(experiment.resolve(config))

    with pytest.raises(ConfigError, match="model resnet20: .* of a single value"):
        place(*keys)
    place(*keys, "data.image_shape=(8,8,3)")
