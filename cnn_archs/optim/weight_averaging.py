"""Averages of parameters and batch statistics over the training steps.

An evaluation reports their errors in addition to those of the parameters themselves.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_archs.optim.schedules import first_step


class Average(NamedTuple):
    """A rule for averaging.

    init(variables): returns the average before the first step. update(average, variables, step):
    returns the average after step number `step`, i32[] from 0. Without averaging both return {}.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, jax.Array], Any]


def no_average(steps_per_epoch: float) -> Average:
    """Keep no average."""
    return Average(lambda variables: {}, lambda average, variables, step: {})


def ema(steps_per_epoch: float, *, decay: float) -> Average:
    """a <- d a + (1 - d) w, with d = min(decay, (1 + k) / (10 + k)) at step k, as in TensorFlow.

    The decay is smaller at first, so that the initial weights are forgotten quickly.
    """

    def share(step: jax.Array) -> jax.Array:
        return 1 - jnp.minimum(decay, (1 + step) / (10 + step))

    return Average(copy_tree, lambda a, variables, step: move_toward(a, variables, share(step)))


def polyak(steps_per_epoch: float, *, start: float) -> Average:
    """Average w over all steps after epoch `start` (Polyak & Juditsky 1992); until then it is w."""
    first = first_step(start, "epoch", steps_per_epoch)

    def share(step: jax.Array) -> jax.Array:
        return 1 / (jnp.maximum(step - first, 0) + 1)

    return Average(copy_tree, lambda a, variables, step: move_toward(a, variables, share(step)))


def copy_tree(variables: Any) -> Any:
    return jax.tree.map(jnp.array, variables)


def move_toward(average: Any, variables: Any, share: jax.Array) -> Any:
    """Return average + share * (variables - average)."""
    return optax.incremental_update(variables, average, share)


AVERAGES: dict[str, Callable[..., Average]] = {"none": no_average, "ema": ema, "polyak": polyak}


def create(name: str, steps_per_epoch: float, **knobs: Any) -> Average:
    """Return the rule `name`."""
    return AVERAGES[name](steps_per_epoch, **knobs)
