"""How the layers are written inside a training step that is compiled for one CPU.

XLA is slow there at three things that a training step consists of: it computes a chain of cheap
operations again in each of its readers, it reduces maps over their first axes one number at a time,
and it has few good convolutions of its own. `training_step` tells the layers, while such a step is
traced, that they are to be written in the forms that avoid this: `written_once` here,
`batch_norm.py` and `step_convolution.py`. All of them give the values of the usual forms, to
rounding. Everywhere else (evaluation, accelerators, several devices) the usual forms are used.

The numbers that justify each form are in `benchmarks/NOTES.md`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax

from cnn_archs.models.cpu.isolate import apart


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
    """Return x as an array in memory that XLA does not compute again in each of its readers."""
    return apart(lambda x: x, x)


def written_once(x: jax.Array) -> jax.Array:
    """Return x; in a training step on one CPU, x and its cotangent are `computed_once`.

    For maps with several readers: else the last unit of a stage of a residual network would compute
    all units before it again, for its addition.
    """
    return _written(x) if traced_step() else x


@jax.custom_vjp
def _written(x: jax.Array) -> jax.Array:
    return computed_once(x)


_written.defvjp(lambda x: (computed_once(x), None), lambda _, g: (computed_once(g),))
