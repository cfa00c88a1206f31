"""The training step: accumulated gradients, auxiliary losses, averages, bfloat16."""

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_archs import models
from cnn_archs.metrics import MetricSums
from cnn_archs.models.layers import BatchNorm
from cnn_archs.optim import losses, optimizers, schedules, weight_averaging
from cnn_archs.training import steps

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 10, 12).astype(np.int32)


class Small(models.Network):
    """A network of a convolution, batch norm over groups if `norm`, and two classifiers."""

    norm: bool = False
    bn_group: int = 0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(4, (3, 3), 2, padding=1, dtype=self.dtype, name="conv")(image)
        if self.norm:
            x = BatchNorm(self.bn_group, dtype=self.dtype, name="norm")(x, train=train)
        x = nn.relu(x).mean((1, 2))
        heads = {"logits": nn.Dense(10, dtype=self.dtype, name="fc")(x)}
        if train:
            heads["aux_a"] = nn.Dense(10, dtype=self.dtype, name="fc_a")(x)
            heads["aux_b"] = nn.Dense(10, dtype=self.dtype, name="fc_b")(x)
        return heads


def plain_sgd():
    schedule = schedules.create("constant", 1.0, learning_rate=0.5)
    knobs = dict(momentum=0.9, weight_decay=1e-3, decayed="all", bias_rate=1.0)
    return optimizers.create("momentum", schedule, **knobs)


def scaled(key, images):
    return images.astype(jnp.float32) / 255 - 0.5


NO_AVERAGE = weight_averaging.create("none", 1.0)


@cache
def first(model, average):
    """Return the state before the first step."""
    init = partial(steps.init_state, model, plain_sgd(), average, image_shape=IMAGES.shape[1:])
    return jax.jit(init)(jax.random.key(0))


@cache
def compiled(model, micro_batch, auxiliary, average, backend):
    loss = losses.create("cross_entropy", smoothing=0.0)
    step = steps.make_train_step(
        model, loss, plain_sgd(), average, scaled, auxiliary=auxiliary, micro_batch=micro_batch
    )
    return jax.jit(step)


def trained(model, micro_batch=0, count=3, auxiliary=0.3, average=NO_AVERAGE, start=None):
    """Return the state after `count` steps on the whole batch."""
    step = compiled(model, micro_batch, auxiliary, average, jax.default_backend())
    state = start or first(model, average)
    for _ in range(count):
        state = step(state, jax.random.key(1), IMAGES, LABELS)
    return state


def distance(a, b):
    """Return the largest difference of parameters and batch_stats of two states, relative to b."""
    x, y = (np.concatenate([np.ravel(v) for v in jax.tree.leaves(s.variables)]) for s in (a, b))
    return np.abs(x - y).max() / np.abs(y).max()


@pytest.mark.parametrize("micro_batch", [3, 6])
def test_accumulated_gradients_are_those_of_the_batch_without_batch_norm(micro_batch):
    whole, parts = trained(Small()), trained(Small(), micro_batch)
    assert distance(parts, whole) < 1e-6
    assert parts.window.report() == pytest.approx(whole.window.report(), rel=1e-5)
    assert parts.window.examples == 3 * len(LABELS)


@pytest.mark.parametrize("micro_batch", [2, 6])
def test_and_with_it_where_its_groups_are_the_micro_batches(micro_batch):
    whole = trained(Small(norm=True, bn_group=micro_batch))
    parts = trained(Small(norm=True, bn_group=micro_batch), micro_batch)
    assert distance(parts, whole) < 1e-5


@pytest.mark.slow
def test_but_not_where_they_are_larger():
    """The statistics of 4 images are not those of 12; `bn_group` makes them equal."""
    whole, parts = trained(Small(norm=True)), trained(Small(norm=True), 4)
    assert distance(parts, whole) > 1e-3


@pytest.mark.slow
def test_a_residual_net_with_groups_of_the_micro_batch():
    model = models.create("resnet20", bn_group=4, width=0.25, blocks=(1, 1, 1))
    assert distance(trained(model, 4, count=2), trained(model, count=2)) < 1e-4


@pytest.mark.parametrize("unit", ["loop", "unrolled"])
def test_accumulation_is_the_same_unrolled_and_as_a_loop(unit, monkeypatch):
    """Accelerators run it as a loop, a CPU unrolled."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu" if unit == "loop" else "cpu")
    assert distance(trained(Small(), 4), trained(Small())) < 1e-6


def test_the_objective_is_the_loss_and_a_share_of_each_auxiliary_loss():
    """GoogLeNet, section 5: main + 0.3 first + 0.3 second, computed by hand."""
    model = Small()
    start = trained(model, count=0)
    label = jnp.asarray(LABELS)

    def objective(params):
        heads: Any = model.apply({"params": params}, scaled(None, IMAGES), train=True)
        rows = [heads[h] - jax.nn.logsumexp(heads[h], -1, keepdims=True) for h in sorted(heads)]
        first, second, main = (-r[jnp.arange(12), label].mean() for r in rows)
        return main + 0.25 * (first + second)

    optimizer = plain_sgd()

    @jax.jit
    def step(params):
        grads = jax.grad(objective)(params)
        updates, _ = optimizer.update(grads, start.opt_state, params, error=0.0)
        return optax.apply_updates(params, updates)

    expected = start.replace(params=step(start.params))
    assert distance(trained(model, count=1, auxiliary=0.25), expected) < 1e-6
    assert distance(trained(model, count=1, auxiliary=0.3), expected) > 1e-4


class Dropped(nn.Module):
    """A network that drops half of the pixels and sums the others, without parameters."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Dropout(0.5, deterministic=not train)(image).mean((1, 2))
        return {"logits": nn.Dense(10, name="fc")(x)}


def noisy(key, images):
    """Take a random crop of 12x12 pixels of each image."""
    keys = jax.random.split(key, len(images))
    cut = partial(jax.lax.dynamic_slice, slice_sizes=(12, 12, 3))
    corners = jax.vmap(lambda k: jax.random.randint(k, (2,), 0, 5))(keys)
    return jax.vmap(lambda x, c: cut(x, (*c, 0)))(scaled(key, images), corners)


@pytest.mark.parametrize("model, prepare", [(Dropped(), scaled), (Small(), noisy)])
def test_each_step_draws_random_numbers_of_its_own(model, prepare):
    """With a learning rate of 0, steps differ only in their dropout masks or crops."""
    schedule = schedules.create("constant", 1.0, learning_rate=0.0)
    knobs = dict(momentum=0.0, weight_decay=0.0, decayed="all", bias_rate=1.0)
    optimizer = optimizers.create("momentum", schedule, **knobs)
    loss = losses.create("cross_entropy", smoothing=0.0)
    step = jax.jit(
        steps.make_train_step(
            model, loss, optimizer, NO_AVERAGE, prepare, auxiliary=0.0, micro_batch=0
        )
    )
    key, image_shape = jax.random.key(1), IMAGES.shape[1:]
    state = steps.init_state(model, optimizer, NO_AVERAGE, jax.random.key(0), image_shape)
    seen = []
    for _ in range(3):
        state = step(state.replace(window=MetricSums.zeros()), key, IMAGES, LABELS)
        seen.append(state.window.report()["loss"])
    again = step(state.replace(window=MetricSums.zeros(), step=jnp.int32(0)), key, IMAGES, LABELS)
    assert again.window.report()["loss"] == seen[0]
    assert len(set(seen)) == 3


def test_each_micro_batch_draws_random_numbers_of_its_own():
    """Four micro-batches of one image: each writes a draw from its key where its label says."""

    def gradient(state, images, labels, key):
        draws = jnp.zeros(4).at[labels[0]].set(jax.random.uniform(key))
        return (draws,), MetricSums.zeros()

    images, labels = jnp.zeros((4, 1, 1, 1)), jnp.arange(4)
    accumulate = jax.jit(partial(steps.accumulate_gradients, gradient, parts=4, mesh=None))
    (mean,), _ = accumulate({}, images, labels, jax.random.key(0))
    draws = 4 * np.asarray(mean)
    assert len(set(draws.tolist())) == 4 and (draws > 0).all() and (draws < 1).all()


def test_the_loss_that_is_logged_is_the_main_classifiers():
    state = trained(Small(), count=1, auxiliary=100.0)

    @jax.jit
    def loss(variables):
        heads: Any = Small().apply(variables, scaled(None, IMAGES), train=False)
        return optax.softmax_cross_entropy_with_integer_labels(heads["logits"], LABELS).mean()

    main = loss(trained(Small(), count=0).variables)
    assert state.window.report()["loss"] == pytest.approx(float(main), rel=1e-5)


def test_an_average_follows_the_weights_and_the_statistics():
    average, model = weight_averaging.create("polyak", 1.0, start=0.0), Small(norm=True)
    states = [trained(model, count=k) for k in (1, 2, 3)]
    mean = jax.tree.map(lambda *x: sum(x) / 3, *(s.variables for s in states))
    found = trained(model, average=average).average
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    structure: Any = jax.tree.structure(found)
    assert structure == jax.tree.structure(mean)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    half, full = trained(Small(norm=True, dtype="bfloat16")), trained(Small(norm=True))
    assert {x.dtype for x in jax.tree.leaves(half.variables)} == {jnp.dtype("float32")}
    assert 1e-6 < distance(half, full) < 0.05
    loss = half.window.report()["loss"]
    assert loss == pytest.approx(full.window.report()["loss"], rel=0.02)


def test_the_first_loss_that_is_not_finite_is_kept_with_its_rate():
    start = trained(Small(), count=0)
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), start.params)
    state = trained(Small(), count=2, start=start.replace(params=broken))
    assert state.bad_step == 0 and state.bad_rate == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["loop", "unrolled"])
def test_smaller_parts_take_less_memory(unit, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu" if unit == "loop" else "cpu")
    loss, model = losses.create("cross_entropy", smoothing=0.0), Small()
    images = jax.ShapeDtypeStruct((64, 64, 64, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((64,), jnp.int32)

    def bytes_of(micro_batch):
        step = steps.make_train_step(
            model,
            loss,
            plain_sgd(),
            NO_AVERAGE,
            lambda key, images: images.astype(jnp.float32),
            auxiliary=0.3,
            micro_batch=micro_batch,
        )
        key = jax.random.key(0)
        state = steps.init_state(model, plain_sgd(), NO_AVERAGE, key, images.shape[1:])
        compiled = jax.jit(step).lower(state, key, images, labels).compile()
        memory: Any = compiled.memory_analysis()
        return memory.temp_size_in_bytes

    input_bytes = 64 * 64 * 64 * 3 * 4
    assert bytes_of(8) - input_bytes < (bytes_of(0) - input_bytes) / 3
