"""Frozen layers keep every bit; the others train as a linear probe in numpy does."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve_settings
from cnn_archs.layer_patterns import match_modules
from cnn_archs.models.layers import ConvNorm
from cnn_archs.optim import losses, optimizers, schedules, weight_averaging
from cnn_archs.training import steps

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 5, 12).astype(np.int32)
RATE, MOMENTUM, DECAY, STEPS = 0.5, 0.9, 1e-2, 3


class Probed(models.Network):
    """A convolution with batch normalization, the mean over each map, and a classifier."""

    @nn.compact
    def __call__(self, image, *, train):
        init = nn.initializers.lecun_normal()
        x = ConvNorm(4, (3, 3), init, 2, 1, name="features")(image, train=train)
        return {"logits": nn.Dense(5, name="fc")(nn.relu(x).mean((1, 2)))}


def scaled(key, images):
    return images.astype(jnp.float32) / 255 - 0.5


def trained(patterns, micro_batch=0, average="none", **knobs):
    """Return the states before and after STEPS steps; the running statistics are not those of a
    fresh network."""
    model = Probed()
    schedule = schedules.create("constant", 1.0, learning_rate=RATE)
    decay = dict(momentum=MOMENTUM, weight_decay=DECAY, decayed="all", bias_rate=1.0)
    optimizer = optimizers.create("momentum", schedule, **decay)
    averaged = weight_averaging.create(average, 1.0, **knobs)
    variables = jax.jit(partial(models.init, model, image_shape=IMAGES.shape[1:]))(
        jax.random.key(0)
    )
    norm = variables["batch_stats"]["features"]["norm"]
    norm |= {"mean": jnp.linspace(-0.3, 0.3, 4), "var": jnp.linspace(0.2, 2.0, 4)}
    frozen = match_modules("frozen", patterns, variables)
    step = jax.jit(
        steps.make_train_step(
            model,
            losses.create("cross_entropy", smoothing=0.0),
            optimizer,
            averaged,
            scaled,
            auxiliary=0.0,
            micro_batch=micro_batch,
            frozen=frozen,
        )
    )
    first = state = steps.state_from_variables(variables, optimizer, averaged)
    for _ in range(STEPS):
        state = step(state, jax.random.key(1), IMAGES, LABELS)
    return first, state


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def probe(first):
    """Train the classifier alone in numpy, on features with the running statistics."""
    features = first.params["features"]
    stats = jax.device_get(first.batch_stats["features"]["norm"])
    x = nn.Conv(4, (3, 3), 2, padding=1, use_bias=False).apply(
        {"params": features["conv"]}, scaled(None, jnp.asarray(IMAGES))
    )
    x = (np.asarray(x, np.float64) - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    x = np.maximum(x, 0).mean((1, 2))
    w, b = (np.asarray(first.params["fc"][k], np.float64) for k in ("kernel", "bias"))
    vw, vb = 0 * w, 0 * b
    for _ in range(STEPS):
        logits = x @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - np.eye(5)[LABELS]) / len(LABELS)
        vw = MOMENTUM * vw - RATE * (x.T @ error + DECAY * w)
        vb = MOMENTUM * vb - RATE * (error.sum(0) + DECAY * b)
        w, b = w + vw, b + vb
    return w, b


def test_a_linear_probe_trains_the_last_layer_alone_on_features_of_evaluation():
    first, last = trained("features", average="ema", decay=0.5)
    for kind in ("params", "batch_stats"):
        kept = bits(getattr(first, kind)["features"])
        assert kept == bits(getattr(last, kind)["features"]) and len(kept) > 1
        assert kept == bits(last.average[kind]["features"])
    w, b = probe(first)
    np.testing.assert_allclose(last.params["fc"]["kernel"], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last.params["fc"]["bias"], b, rtol=1e-4, atol=1e-5)
    assert np.abs(w - first.params["fc"]["kernel"]).max() > 0.01


def test_frozen_layers_keep_their_bits_over_micro_batches_whose_third_is_no_power_of_two():
    first, last = trained("features", micro_batch=4)
    assert bits(first.batch_stats) == bits(last.batch_stats)
    assert bits(first.params["features"]) == bits(last.params["features"])


def test_a_frozen_head_lets_the_gradient_through_to_the_layers_below():
    first, last = trained("fc")
    assert bits(first.params["fc"]) == bits(last.params["fc"])
    moved = zip(bits(first.params["features"]), bits(last.params["features"]), strict=True)
    assert all(a != b for a, b in moved)
    assert bits(first.batch_stats) != bits(last.batch_stats)


VARIABLES = {
    "params": {
        "conv1": {"kernel": 0},
        "conv2_1": {"3x3a": {"conv": {"kernel": 0}}},
        "fc": {"bias": 0},
    },
    "batch_stats": {"conv2_1": {"3x3a": {"norm": {"mean": 0}}}},
}
INSIDE = {("conv2_1", "3x3a", "conv"), ("conv2_1", "3x3a", "norm")}


@pytest.mark.parametrize(
    "patterns, found",
    [
        ("conv1", {("conv1",)}),
        ("conv2_1", INSIDE),
        ("conv2_1/3x3a", INSIDE),
        ("conv2_1/3x3a/norm", {("conv2_1", "3x3a", "norm")}),
        ("*/conv", {("conv2_1", "3x3a", "conv")}),
        ("conv*, fc", {("conv1",), ("fc",), *INSIDE}),
        ("", set()),
    ],
)
def test_a_pattern_matches_modules_and_what_is_inside_of_them(patterns, found):
    assert match_modules("frozen", patterns, VARIABLES) == found


@pytest.mark.parametrize(
    "patterns, message",
    [
        ("conv1,conv2_2", "=conv1,conv2_2: no layer matches 'conv2_2'; did you mean 'conv2_1'?"),
        ("kernel", "no layer matches 'kernel'; the network has conv1, conv2_1, fc"),
        ("conv", "no layer matches 'conv'; did you mean 'conv1'?"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_the_nearest(patterns, message):
    with pytest.raises(ConfigError) as e:
        match_modules("frozen", patterns, VARIABLES)
    assert str(e.value).endswith(message)


def settings(frozen):
    return resolve_settings(configs.load_config("lenet5_digits", [f"frozen={frozen}"]))


def test_a_config_freezes_layers_of_its_network():
    assert settings("C*,F6").frozen == {("C1",), ("C3",), ("C5",), ("F6",)}
    with pytest.raises(ConfigError, match="frozen=C4: no layer matches 'C4'; the network has C1"):
        settings("C4")
    with pytest.raises(ConfigError, match=r"frozen=\*: this leaves no layer to train"):
        settings("*")
