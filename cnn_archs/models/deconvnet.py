"""The context in which layers send a signal back as a deconvnet does (Zeiler & Fergus 2014, 2.1).

A deconvnet leads an activation back to the pixels: it puts values to the places of the maxima that
pooling has found (its switches), applies ReLU to the signal itself, and filters with the transposed
kernels. That is the gradient of the network, except that ReLU passes the positive part of the
signal instead of that part which stems from positive inputs, and that response normalization, of
which the paper says nothing, passes the signal unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp


@dataclass
class Deconvnet:
    """A deconvnet that is being traced. rectified: how many ReLUs it has so far."""

    rectified: int = 0


_traced: ContextVar[Deconvnet | None] = ContextVar("deconvnet", default=None)


@contextmanager
def deconvnet() -> Iterator[Deconvnet]:
    """Make `jax.vjp` of all layers that are traced inside the backward pass of a deconvnet."""
    found = Deconvnet()
    token = _traced.set(found)
    try:
        yield found
    finally:
        _traced.reset(token)


def traced_deconvnet() -> Deconvnet | None:
    """Return the deconvnet that is being traced, or None outside of `deconvnet`."""
    return _traced.get()


@jax.custom_vjp
def rectified_both_ways(x: jax.Array) -> jax.Array:
    """Return max(x, 0); its cotangent g becomes max(g, 0), whatever x is."""
    return nn.relu(x)


rectified_both_ways.defvjp(lambda x: (nn.relu(x), None), lambda _, g: (nn.relu(g),))


@jax.custom_vjp
def unchanged_back(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return y, a function of x, and send its cotangent to x unchanged."""
    return y


unchanged_back.defvjp(lambda x, y: (y, None), lambda _, g: (g, jnp.zeros_like(g)))
