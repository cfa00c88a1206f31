"""The context in which a training step for one CPU is traced.

XLA:CPU is slow in three ways that matter to a training step: it computes a chain of cheap
operations again in each operation that reads the result, it reduces maps over their leading axes
one number at a time, and few of its own convolutions are fast. Inside `training_step` the layers
use forms that avoid this: `written_once` here, and those of `batch_norm.py` and
`step_convolution.py`. These forms give the values of the usual ones up to rounding. Everywhere else
(evaluation, accelerators, several devices) the layers use the usual forms.

`benchmarks/NOTES.md` has the measurements that justify each form.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax

from cnn_archs.models.cpu.isolate import isolate


@dataclass(frozen=True)
class Step:
    """A training step for one CPU that is being traced.

    onednn: whether it will be compiled with oneDNN's convolutions.
    """

    onednn: bool


_traced: ContextVar[Step | None] = ContextVar("training step on a CPU", default=None)


@contextmanager
def training_step(*, onednn: bool) -> Iterator[None]:
    """Make all layers that are traced inside use the forms for a training step on one CPU."""
    token = _traced.set(Step(onednn))
    try:
        yield
    finally:
        _traced.reset(token)


def traced_step() -> Step | None:
    """Return the training step that is being traced, or None outside of `training_step`."""
    return _traced.get()


def computed_once(x: jax.Array) -> jax.Array:
    """Return x, stored in memory, so that XLA does not compute it again in each of its readers."""
    return isolate(lambda x: x, x)


def written_once(x: jax.Array) -> jax.Array:
    """Return x; in a training step on one CPU, apply `computed_once` to x and its cotangent.

    It is meant for maps with several readers. Without it the last unit of a stage of a residual
    network would compute all units before it again, for its addition.
    """
    return _written(x) if traced_step() else x


@jax.custom_vjp
def _written(x: jax.Array) -> jax.Array:
    return computed_once(x)


_written.defvjp(lambda x: (computed_once(x), None), lambda _, g: (computed_once(g),))
