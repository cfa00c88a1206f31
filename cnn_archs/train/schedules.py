"""Learning rates: step (i32, from 0) -> rate. In epochs, step k is at epoch k B / N."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

# (pass from 1 at which the rate starts, rate)
LENET5 = {
    # Section III.B, as printed.
    "lenet5_paper1998": ((1, 5e-4), (3, 2e-4), (6, 1e-4), (9, 5e-5), (13, 1e-5)),
    # The lecture notes: a ten times larger start, and the step at 0.0001 left out.
    "lenet5_notes": ((1, 5e-3), (3, 2e-4), (6, 5e-5), (10, 1e-5)),
    # The textbook the notes follow: epochs 0-2, 3-5, 6-9, then the rest.
    "lenet5_book": ((1, 5e-4), (4, 2e-4), (7, 5e-5), (11, 1e-5)),
}


def constant(steps_per_epoch: float, *, learning_rate: float) -> optax.Schedule:
    """Always `learning_rate`."""
    return optax.constant_schedule(learning_rate)


def piecewise(
    steps_per_epoch: float,
    *,
    learning_rate: float,
    factors: tuple[float, ...],
    boundaries: tuple[float, ...],
    unit: str,
) -> optax.Schedule:
    """learning_rate * factors[i] from boundaries[i-1] on; boundaries in `unit`, step or epoch."""
    if len(factors) != len(boundaries) + 1:
        raise ValueError(
            f"schedule: {len(boundaries)} boundaries need {len(boundaries) + 1} factors, "
            f"not {len(factors)}"
        )
    rates = tuple(learning_rate * f for f in factors)
    return steps_of(rates, tuple(first_step(b, unit, steps_per_epoch) for b in boundaries))


def exponential(
    steps_per_epoch: float,
    *,
    learning_rate: float,
    factor: float,
    every: float,
    unit: str,
    staircase: bool,
) -> optax.Schedule:
    """learning_rate * factor^(t / every), t in `unit`; `staircase`: the whole part of t / every."""
    period = every * per_unit(unit, steps_per_epoch)
    return optax.exponential_decay(
        learning_rate, transition_steps=period, decay_rate=factor, staircase=staircase
    )


def lenet5(name: str) -> Callable[[float], optax.Schedule]:
    """One of the LENET5 tables."""

    def schedule(steps_per_epoch: float) -> optax.Schedule:
        starts, rates = zip(*LENET5[name], strict=True)
        boundaries = tuple(first_step(s - 1, "epoch", steps_per_epoch) for s in starts[1:])
        return steps_of(rates, boundaries)

    return schedule


def steps_of(rates: tuple[float, ...], boundaries: tuple[int, ...]) -> optax.Schedule:
    """rates[i] from step boundaries[i-1] on; the printed values themselves, not products."""
    if list(boundaries) != sorted(boundaries):
        raise ValueError(f"schedule: boundaries {boundaries} are not in order")
    table, edges = jnp.asarray(rates, jnp.float32), jnp.asarray(boundaries, jnp.int32)
    return lambda step: table[jnp.searchsorted(edges, step, side="right")]


def per_unit(unit: str, steps_per_epoch: float) -> float:
    if unit not in ("step", "epoch"):
        raise ValueError(f"schedule.unit is {unit!r}, not 'step' or 'epoch'")
    return 1.0 if unit == "step" else steps_per_epoch


def first_step(t: float, unit: str, steps_per_epoch: float) -> int:
    """The first step that starts at `t` or later, to a millionth of a step: 1.1 epochs of 100."""
    return math.ceil(round(t * per_unit(unit, steps_per_epoch), 6))


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "piecewise": piecewise,
    "exponential": exponential,
    **{name: lenet5(name) for name in LENET5},
}


def create(name: str, steps_per_epoch: float, **knobs: Any) -> optax.Schedule:
    """The schedule `name`; ValueError where its knobs do not fit together."""
    return SCHEDULES[name](steps_per_epoch, **knobs)
