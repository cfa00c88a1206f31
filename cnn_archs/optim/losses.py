"""Losses: (logits f32[N, K], label i32[N]) -> f32[N], one for each example."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(*, smoothing: float) -> Loss:
    """-log softmax(logits)[label]; `smoothing` of the label's mass is spread over all classes."""
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels

    def loss(logits: jax.Array, label: jax.Array) -> jax.Array:
        target = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
        return optax.softmax_cross_entropy(logits, target)

    return loss


def rbf_mean() -> Loss:
    """LeNet-5 1998, equation 8: y_D, the penalty of the right class. logits = -y."""
    return lambda logits, label: -correct_logit(logits, label)


def rbf_map(*, j: float) -> Loss:
    """LeNet-5 1998, equation 9: y_D + log(e^-j + sum_i e^-y_i). logits = -y."""

    def loss(logits: jax.Array, label: jax.Array) -> jax.Array:
        everything = jnp.logaddexp(jax.nn.logsumexp(logits, axis=-1), -j)
        return everything - correct_logit(logits, label)

    return loss


def correct_logit(logits: jax.Array, label: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]


LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": cross_entropy,
    "rbf_mean": rbf_mean,
    "rbf_map": rbf_map,
}


def create(name: str, **knobs: Any) -> Loss:
    """The loss `name`."""
    return LOSSES[name](**knobs)
