"""Layers that two papers share, or that flax lacks.

Pooling stands here as a module only so that it has a name, and therefore a row in the ledger.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "identity": lambda x: x,
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The elementwise function `name` of ACTIVATIONS; ValueError for any other name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class AvgPool(nn.Module):
    """Mean over `window` x `window`, every `stride` pixels, no padding, floor."""

    window: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, (H-window)//stride+1, (W-window)//stride+1, C]."""
        return nn.avg_pool(x, (self.window,) * 2, (self.stride,) * 2, padding="VALID")


class MaxPool(nn.Module):
    """Maximum over `window` x `window`, every `stride` pixels, no padding, floor."""

    window: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, (H-window)//stride+1, (W-window)//stride+1, C]."""
        return nn.max_pool(x, (self.window,) * 2, (self.stride,) * 2, padding="VALID")
