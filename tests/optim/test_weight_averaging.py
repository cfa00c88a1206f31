"""Averages of the weights, against loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.optim import weight_averaging

PATH = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)  # w after each step


def variables(w):
    return {"params": {"a": jnp.asarray(w)}, "batch_stats": {"b": {"mean": jnp.asarray(2 * w)}}}


def run(average):
    """Return the average after each step."""
    kept, path = average.init(variables(PATH[0] * 0)), []
    update = jax.jit(average.update)
    for step, w in enumerate(PATH):
        kept = update(kept, variables(w), jnp.int32(step))
        path.append(np.asarray(kept["params"]["a"]))
        np.testing.assert_allclose(kept["batch_stats"]["b"]["mean"], 2 * path[-1], rtol=1e-5)
    return np.array(path)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9999])
def test_ema_is_tensorflows(decay):
    """tf.train.ExponentialMovingAverage with num_updates: min(decay, (1 + k) / (10 + k))."""
    a, expected = np.zeros(3), []
    for k, w in enumerate(PATH):
        d = min(decay, (1 + k) / (10 + k))
        a = d * a + (1 - d) * w
        expected.append(a)
    np.testing.assert_allclose(
        run(weight_averaging.create("ema", 10.0, decay=decay)), expected, rtol=1e-4
    )


@pytest.mark.parametrize("start, first", [(0.0, 0), (0.5, 5), (2.0, 20)])
def test_polyak_is_the_mean_since_its_start_and_the_weights_before(start, first):
    path = run(weight_averaging.create("polyak", 10.0, start=start))
    for k in range(len(PATH)):
        expected = PATH[first : k + 1].mean(0) if k >= first else PATH[k]
        np.testing.assert_allclose(path[k], expected, rtol=1e-4, atol=1e-6)


def test_no_average_is_nothing():
    average = weight_averaging.create("none", 10.0)
    assert average.init(variables(PATH[0])) == {}
    assert average.update({}, variables(PATH[0]), jnp.int32(0)) == {}


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError):
        weight_averaging.create("swa", 10.0)
