"""Averages of parameters and batch statistics over the steps, evaluated beside the raw ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_archs.optim.schedules import first_step


class Average(NamedTuple):
    """init(variables) -> the average before the first step; update(average, variables, step) -> the
    average after step number `step`, i32[] from 0. Without one both are {}."""

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, jax.Array], Any]


def no_average(steps_per_epoch: float) -> Average:
    """No average is kept."""
    return Average(lambda variables: {}, lambda average, variables, step: {})


def ema(steps_per_epoch: float, *, decay: float) -> Average:
    """a <- d a + (1 - d) w, with d = min(decay, (1 + k) / (10 + k)) at step k: TensorFlow's.

    So the first steps, of which a constant decay would keep a share for long, are soon forgotten.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"average.decay={decay}: from 0 to less than 1")

    def share(step: jax.Array) -> jax.Array:
        return 1 - jnp.minimum(decay, (1 + step) / (10 + step))

    return Average(copy_tree, lambda a, variables, step: move_toward(a, variables, share(step)))


def polyak(steps_per_epoch: float, *, start: float) -> Average:
    """The mean of all w after epoch `start` (Polyak & Juditsky 1992); before it, w itself."""
    first = first_step(start, "epoch", steps_per_epoch)

    def share(step: jax.Array) -> jax.Array:
        return 1 / (jnp.maximum(step - first, 0) + 1)

    return Average(copy_tree, lambda a, variables, step: move_toward(a, variables, share(step)))


def copy_tree(variables: Any) -> Any:
    return jax.tree.map(jnp.array, variables)


def move_toward(average: Any, variables: Any, share: jax.Array) -> Any:
    """`average` a `share` of the way to `variables`."""
    return optax.incremental_update(variables, average, share)


AVERAGES: dict[str, Callable[..., Average]] = {"none": no_average, "ema": ema, "polyak": polyak}


def create(name: str, steps_per_epoch: float, **knobs: Any) -> Average:
    """The average `name`; ValueError for a knob that cannot be."""
    return AVERAGES[name](steps_per_epoch, **knobs)
