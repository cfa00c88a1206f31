"""The losses against their printed formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cnn_archs.optim import losses

RNG = np.random.default_rng(0)
LABELS = np.array([0, 9, 3, 3, 7], np.int32)
PENALTIES = RNG.uniform(0.0, 12.0, (5, 10)).astype(np.float32)  # y, which are minus the logits
SCORES, CLASSES = jnp.asarray(-PENALTIES), jnp.asarray(LABELS)  # the arguments of a loss


def cross_entropy(smoothing=0.0):
    return losses.create("cross_entropy", smoothing=smoothing)


def of_right(y):
    return y.astype(np.float64)[np.arange(len(LABELS)), LABELS]


def test_cross_entropy_is_minus_the_log_of_the_softmax():
    logits = RNG.normal(0, 3, (5, 10)).astype(np.float32)
    e = np.exp(logits.astype(np.float64))
    expected = -np.log(of_right(e / e.sum(-1, keepdims=True)))
    np.testing.assert_allclose(cross_entropy()(jnp.asarray(logits), CLASSES), expected, rtol=1e-5)


def test_cross_entropy_of_equal_scores_is_log_10():
    loss = cross_entropy()(jnp.zeros((5, 10)), CLASSES)
    np.testing.assert_allclose(loss, [np.log(10)] * 5, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_labels_are_torchs(smoothing):
    logits = RNG.normal(0, 3, (5, 10)).astype(np.float32)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits),
        torch.tensor(LABELS).long(),
        label_smoothing=smoothing,
        reduction="none",
    )
    np.testing.assert_allclose(
        cross_entropy(smoothing)(jnp.asarray(logits), CLASSES), expected, rtol=1e-5
    )


def test_squared_error_is_half_the_squared_distance_from_plus_and_minus_one():
    outputs = RNG.normal(0, 1, (5, 10)).astype(np.float32)
    target = np.where(LABELS[:, None] == np.arange(10), 1.0, -1.0)
    loss = losses.create("squared_error")(jnp.asarray(outputs), CLASSES)
    np.testing.assert_allclose(loss, ((outputs - target) ** 2).sum(1) / 2, rtol=1e-5)


def test_rbf_mean_is_equation_8():
    loss = losses.create("rbf_mean")(SCORES, CLASSES)
    assert np.asarray(loss).tolist() == PENALTIES[np.arange(5), LABELS].tolist()


@pytest.mark.parametrize("j", [0.1, 1.0, 10.0])
def test_rbf_map_is_equation_9(j):
    everything = np.exp(-j) + np.exp(-PENALTIES.astype(np.float64)).sum(-1)
    expected = of_right(PENALTIES) + np.log(everything)
    loss = losses.create("rbf_map", j=j)(SCORES, CLASSES)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert (np.asarray(loss) > 0).all()


def test_without_the_rubbish_class_equation_9_is_a_softmax_over_minus_the_penalties():
    """e^-j -> 0 leaves -log(e^-y_D / sum_i e^-y_i)."""
    loss = losses.create("rbf_map", j=1e4)(SCORES, CLASSES)
    expected = cross_entropy()(SCORES, CLASSES)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_rbf_map_is_finite_where_every_e_to_minus_y_underflows():
    """84 states at distance 2 from each center: y = 336, and e^-336 = 0 in float32; j remains."""
    loss = losses.create("rbf_map", j=1.0)
    logits = jnp.full((1, 10), -4.0 * 84)
    label = jnp.array([4])
    np.testing.assert_allclose(loss(logits, label), [4 * 84 - 1.0], rtol=1e-6)
    gradient = jax.grad(lambda x: loss(x, label).sum())(logits)
    np.testing.assert_allclose(gradient, -np.eye(10)[[4]], atol=1e-6)


def test_rbf_map_pushes_the_wrong_classes_away():
    """The gradient by the logits is p_i, minus 1 for the correct class, with sum p_i < 1."""
    loss = losses.create("rbf_map", j=1.0)
    gradient = jax.grad(lambda x: loss(x, CLASSES).sum())(SCORES)
    e = np.exp(-PENALTIES.astype(np.float64))
    p = e / (np.exp(-1.0) + e.sum(-1, keepdims=True))
    np.testing.assert_allclose(gradient, p - np.eye(10)[LABELS], rtol=1e-4, atol=1e-6)
    assert (p.sum(-1) < 1).all()


def test_names_and_knobs_are_checked():
    with pytest.raises(KeyError):
        losses.create("hinge")
    with pytest.raises(TypeError):
        losses.create("rbf_map")
    with pytest.raises(TypeError):
        losses.create("rbf_mean", j=1.0)
