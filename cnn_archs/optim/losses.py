"""Losses: (logits f32[N, K], label i32[N]) -> f32[N], one for each example."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(*, smoothing: float) -> Loss:
    """Return -log softmax(logits)[label].

    smoothing: share of the target probability that is spread evenly over all classes.
    """
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels

    def loss(logits: jax.Array, label: jax.Array) -> jax.Array:
        target = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
        return optax.softmax_cross_entropy(logits, target)

    return loss


def rbf_mean() -> Loss:
    """Return y_D, the penalty of the correct class (LeNet-5 1998, equation 8). logits = -y."""
    return lambda logits, label: -correct_logit(logits, label)


def rbf_map(*, j: float) -> Loss:
    """Return y_D + log(e^-j + sum_i e^-y_i) (LeNet-5 1998, equation 9). logits = -y."""

    def loss(logits: jax.Array, label: jax.Array) -> jax.Array:
        everything = jnp.logaddexp(jax.nn.logsumexp(logits, axis=-1), -j)
        return everything - correct_logit(logits, label)

    return loss


def correct_logit(logits: jax.Array, label: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]


def squared_error() -> Loss:
    """Return half the squared distance of the outputs from +1 for the label, -1 for the others.

    LeCun et al. 1998, appendix A has these targets; the factor of one half is ours.
    """

    def loss(logits: jax.Array, label: jax.Array) -> jax.Array:
        target = 2.0 * jax.nn.one_hot(label, logits.shape[-1]) - 1.0
        return 0.5 * jnp.square(logits - target).sum(-1)

    return loss


LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": cross_entropy,
    "rbf_mean": rbf_mean,
    "rbf_map": rbf_map,
    "squared_error": squared_error,
}


def create(name: str, **knobs: Any) -> Loss:
    """Return the loss `name`."""
    return LOSSES[name](**knobs)
