"""How the layers are written inside a training step that is compiled for one CPU.

XLA is slow there at three things that a training step consists of: it computes a chain of cheap
operations again in each of its readers, it reduces maps over their first axes one number at a time,
and it has few good convolutions of its own. `training_step` tells the layers, while such a step is
traced, that they are to be written in the forms that avoid this: `written_once` here,
`normalization.py` and `cpu_convolution.py`. All of them give the values of the usual forms, to
rounding. Everywhere else (evaluation, accelerators, several devices) the usual forms are used.

The numbers that justify each form are in `benchmarks/NOTES.md`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax


@dataclass(frozen=True)
class Step:
    """A training step for one CPU that is being traced.

    onednn: it will be compiled with oneDNN's convolutions.
    """

    onednn: bool


_traced: ContextVar[Step | None] = ContextVar("training step on a CPU", default=None)


@contextmanager
def training_step(*, onednn: bool) -> Iterator[None]:
    """Writes all layers that are traced inside in the forms for a training step on one CPU."""
    token = _traced.set(Step(onednn))
    try:
        yield
    finally:
        _traced.reset(token)


def traced_step() -> Step | None:
    """Return the training step that is being traced; None outside of `training_step`."""
    return _traced.get()


def computed_once(x: jax.Array) -> jax.Array:
    """Return x as an array in memory that XLA does not compute again in each of its readers.

    XLA:CPU drops optimization barriers before it fuses operations, and fuses a whole chain of batch
    normalization, ReLU and additions into each reader of its end. It does not look into the
    branches of a conditional, so x passes through one. If the first element of x is not finite, in
    which case the step has failed anyway, all elements become NaN.
    """
    finite = jnp.abs(x[(0,) * x.ndim]) < jnp.inf
    return lax.cond(finite, lambda x: x, lambda x: x * jnp.nan, x)


@jax.custom_vjp
def written_once(x: jax.Array) -> jax.Array:
    """Return x; both x and its cotangent are `computed_once`."""
    return computed_once(x)


written_once.defvjp(lambda x: (computed_once(x), None), lambda _, g: (computed_once(g),))
