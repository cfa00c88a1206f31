"""The update rules, line by line, against loops in numpy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_archs.train import optimizers, schedules

STEPS = 8
DROP = schedules.create(  # 0.1 for three steps, then 0.01
    "piecewise", 1.0, learning_rate=0.1, factors=(1.0, 0.1), boundaries=(3.0,), unit="step"
)
RATE = [0.1] * 3 + [0.01] * 5
START = np.random.default_rng(0).normal(size=(4, 3))
GRADIENTS = np.random.default_rng(1).normal(size=(STEPS, 4, 3))


def run(optimizer):
    """The weights after each of STEPS steps from START along GRADIENTS."""
    weights = {"kernel": jnp.asarray(START, jnp.float32)}
    state, path = optimizer.init(weights), []
    for gradient in GRADIENTS:
        gradients = {"kernel": jnp.asarray(gradient, jnp.float32)}
        updates, state = optimizer.update(gradients, state, weights)
        weights = optax.apply_updates(weights, updates)
        path.append(np.asarray(weights["kernel"]))
    return path


def caffe_form(mu, decay):
    """v <- mu v - lr (g + wd w);  w <- w + v."""
    w, v, path = START.copy(), np.zeros_like(START), []
    for rate, g in zip(RATE, GRADIENTS, strict=True):
        v = mu * v - rate * (g + decay * w)
        w = w + v
        path.append(w)
    return path


def torch_form(mu, decay):
    """v <- mu v + (g + wd w);  w <- w - lr v: the old steps shrink with the rate."""
    w, v, path = START.copy(), np.zeros_like(START), []
    for rate, g in zip(RATE, GRADIENTS, strict=True):
        v = mu * v + g + decay * w
        w = w - rate * v
        path.append(w)
    return path


@pytest.mark.parametrize("mu", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4, 0.1])
def test_momentum_has_the_rate_inside_the_velocity(mu, decay):
    path = run(optimizers.create("momentum", DROP, momentum=mu, weight_decay=decay))
    np.testing.assert_allclose(path, caffe_form(mu, decay), rtol=1e-5, atol=1e-6)


def test_momentum_is_torchs_form_until_the_rate_drops_and_not_after():
    path = run(optimizers.create("momentum", DROP, momentum=0.9, weight_decay=0.0))
    other = torch_form(0.9, 0.0)
    np.testing.assert_allclose(path[:3], other[:3], rtol=1e-5, atol=1e-6)
    for step in range(3, STEPS):
        assert np.abs(path[step] - other[step]).max() > 0.01


def test_a_rate_drop_leaves_the_velocity_as_it_is():
    """With no gradient after the drop, the weights go on by mu^k of the old step."""
    optimizer = optimizers.create("momentum", DROP, momentum=0.5, weight_decay=0.0)
    w = {"w": jnp.zeros(())}
    state, path = optimizer.init(w), []
    for g in (1.0, 0.0, 0.0, 0.0, 0.0):
        updates, state = optimizer.update({"w": jnp.asarray(g)}, state, w)
        path.append(float(updates["w"]))
    np.testing.assert_allclose(path, [-0.1, -0.05, -0.025, -0.0125, -0.00625], rtol=1e-6)


def test_weight_decay_alone_shrinks_the_weights_by_rate_times_decay():
    optimizer = optimizers.create("momentum", DROP, momentum=0.0, weight_decay=0.5)
    w = {"w": jnp.ones(())}
    updates, _ = optimizer.update({"w": jnp.zeros(())}, optimizer.init(w), w)
    np.testing.assert_allclose(updates["w"], -0.1 * 0.5, rtol=1e-6)


def test_adam_is_algorithm_1():
    """Kingma & Ba 2015, with the rate of each step."""
    b1, b2, eps = 0.9, 0.999, 1e-8
    w, m, v, expected = START.copy(), 0.0, 0.0, []
    for t, (rate, g) in enumerate(zip(RATE, GRADIENTS, strict=True), start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        expected.append(w)
    path = run(optimizers.create("adam", DROP, b1=b1, b2=b2, eps=eps))
    np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)


def test_names_and_knobs_are_checked():
    with pytest.raises(KeyError):
        optimizers.create("sgd", DROP)
    with pytest.raises(TypeError):
        optimizers.create("momentum", DROP, momentum=0.9)
    with pytest.raises(TypeError):
        optimizers.create("adam", DROP, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1)
