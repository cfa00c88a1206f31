"""Learning rate schedules: functions of the step and, in some papers, of the errors so far.

Steps count from 0; step k of batches of B out of N images is at epoch k B / N. The state of a
schedule, which includes its rates, is part of the optimizer's state. So it is checkpointed, equal
on all processes, and not compiled into the program, and networks that are trained together can have
different rates.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

ScheduleState = Any  # a tree of arrays
LAST_STEP = 2**31 - 1  # steps are int32, and no training has more


def keep_state(state: ScheduleState, error: jax.Array) -> ScheduleState:
    """Return the state unchanged, for schedules that ignore the error."""
    return state


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A learning rate schedule with a state.

    rate(state, step i32[]): returns the learning rate, f32[]. init(): returns new arrays, the state
    before the first step; all values derived from `learning_rate` are in it. after_step(state,
    error): returns the state after a step, given the training error of its batch, f32[].
    after_evaluation(state, error): returns the state after an evaluation, given the error on
    held-out images, f32[]; needs_validation is True for schedules that use it. bias_rate(state,
    step): returns the learning rate of biases, where it is another. Errors are fractions.
    """

    rate: Callable[[ScheduleState, jax.Array], jax.Array]
    init: Callable[[], ScheduleState]
    after_step: Callable[[ScheduleState, jax.Array], ScheduleState] = keep_state
    after_evaluation: Callable[[ScheduleState, jax.Array], ScheduleState] = keep_state
    needs_validation: bool = False
    bias_rate: Callable[[ScheduleState, jax.Array], jax.Array] | None = None


def factor_schedule(learning_rate: float, factor: optax.Schedule) -> Schedule:
    """Return the schedule learning_rate * factor(step)."""
    return Schedule(
        rate=lambda state, step: state * factor(step), init=lambda: jnp.float32(learning_rate)
    )


# Pairs (first epoch, counted from 1; learning rate from that epoch on).
LENET5 = {
    # Section III.B, as printed.
    "lenet5_paper1998": ((1, 5e-4), (3, 2e-4), (6, 1e-4), (9, 5e-5), (13, 1e-5)),
    # The lecture notes, whose first rate is ten times larger and which skip 0.0001.
    "lenet5_notes": ((1, 5e-3), (3, 2e-4), (6, 5e-5), (10, 1e-5)),
    # The textbook that the notes follow, with epochs 0-2, 3-5, 6-9, then the rest.
    "lenet5_book": ((1, 5e-4), (4, 2e-4), (7, 5e-5), (11, 1e-5)),
}


def constant(steps_per_epoch: float, *, learning_rate: float) -> Schedule:
    """Return `learning_rate` at all steps."""
    return factor_schedule(learning_rate, optax.constant_schedule(1.0))


def piecewise(
    steps_per_epoch: float,
    *,
    learning_rate: float,
    factors: tuple[float, ...],
    boundaries: tuple[float, ...],
    unit: str,
    bias_factors: tuple[float, ...],
) -> Schedule:
    """Return learning_rate * factors[i] from boundaries[i-1] on.

    boundaries: in increasing order. unit: theirs, "step" or "epoch". bias_factors: the factors of
    biases, if they have others (Krizhevsky's `epsB` beside `epsW`). Raises ValueError unless there
    is one factor more than boundaries.
    """
    for key, some in (("factors", factors), ("bias_factors", bias_factors or factors)):
        if len(some) != len(boundaries) + 1:
            raise ValueError(
                f"schedule: {len(boundaries)} boundaries need {len(boundaries) + 1} {key}, "
                f"not {len(some)}"
            )
    steps = tuple(first_step(b, unit, steps_per_epoch) for b in boundaries)
    rates, of_biases = (
        piecewise_rates(tuple(learning_rate * f for f in some), steps)
        for some in (factors, bias_factors or factors)
    )
    if not bias_factors:
        return rates
    return Schedule(
        rate=lambda state, step: rates.rate(state[0], step),
        init=lambda: (rates.init(), of_biases.init()),
        bias_rate=lambda state, step: of_biases.rate(state[1], step),
    )


def exponential(
    steps_per_epoch: float,
    *,
    learning_rate: float,
    factor: float,
    every: float,
    unit: str,
    staircase: bool,
) -> Schedule:
    """Return learning_rate * factor^(t / every), with t in `unit`, "step" or "epoch".

    staircase: round t / every down.
    """
    period = every * steps_per_unit(unit, steps_per_epoch)
    decay = optax.exponential_decay(
        1.0, transition_steps=period, decay_rate=factor, staircase=staircase
    )
    return factor_schedule(learning_rate, decay)


def lenet5_table(name: str) -> Callable[[float], Schedule]:
    """Return the schedule of the table `name` of LENET5."""

    def schedule(steps_per_epoch: float) -> Schedule:
        starts, rates = zip(*LENET5[name], strict=True)
        boundaries = tuple(first_step(s - 1, "epoch", steps_per_epoch) for s in starts[1:])
        return piecewise_rates(rates, boundaries)

    return schedule


def piecewise_rates(rates: tuple[float, ...], boundaries: tuple[int, ...]) -> Schedule:
    """Return rates[i] from step boundaries[i-1] on, exactly as given."""
    edges = jnp.asarray(boundaries, jnp.int32)
    # jnp.searchsorted would be a loop inside each training step. With comparisons that are written
    # out, XLA computes the rate in a kernel of its own, and no longer merges those that use it.
    return Schedule(
        rate=lambda state, step: state[(edges <= step).sum()],
        init=lambda: jnp.asarray(rates, jnp.float32),
    )


class PlateauState(NamedTuple):
    """The state of `plateau`.

    rates: f32[drops + 1]. best: f32[], the lowest error on held-out images. waited: i32[],
    evaluations since the last improvement or drop. drops: i32[], drops so far.
    """

    rates: jax.Array
    best: jax.Array
    waited: jax.Array
    drops: jax.Array


def plateau(
    steps_per_epoch: float,
    *,
    learning_rate: float,
    factor: float,
    drops: int,
    patience: int,
    improvement: float,
) -> Schedule:
    """Multiply the learning rate by `factor` when the error on held-out images stops improving.

    drops: the most times that it does so. patience: number of successive evaluations, before a
    drop, that do not lower the best error by more than `improvement`, a fraction (0.001 is 0.1
    points). See AlexNet section 5, VGG section 3.1 and ResNet section 3.4. optax's
    `reduce_on_plateau` does not limit the drops and needs a value at each step.
    """
    rates = [learning_rate * factor**i for i in range(drops + 1)]

    def after_evaluation(state: PlateauState, error: jax.Array) -> PlateauState:
        improved = error < state.best - improvement
        waited = jnp.where(improved, 0, state.waited + 1)
        drop = (waited >= patience) & (state.drops < drops)
        return state._replace(
            best=jnp.where(improved, error, state.best),
            waited=jnp.where(drop, 0, waited),
            drops=state.drops + drop,
        )

    return Schedule(
        rate=lambda state, step: state.rates[state.drops],
        init=lambda: PlateauState(
            jnp.asarray(rates, jnp.float32), jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(0)
        ),
        after_evaluation=after_evaluation,
        needs_validation=True,
    )


def steps_per_unit(unit: str, steps_per_epoch: float) -> float:
    """Return the steps in a `unit`, "step" or "epoch"."""
    return 1.0 if unit == "step" else steps_per_epoch


def first_step(t: float, unit: str, steps_per_epoch: float) -> int:
    """Return the first step that starts at `t`, in `unit`, or later; at most LAST_STEP.

    Steps are rounded to a millionth first, so that 1.1 epochs of 100 steps are 110 steps.
    """
    return math.ceil(min(round(t * steps_per_unit(unit, steps_per_epoch), 6), LAST_STEP))


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "piecewise": piecewise,
    "exponential": exponential,
    "plateau": plateau,
    **{name: lenet5_table(name) for name in LENET5},
}


def create(name: str, steps_per_epoch: float, **knobs: Any) -> Schedule:
    """Return the schedule `name`. Raises ValueError if its knobs do not fit together."""
    return SCHEDULES[name](steps_per_epoch, **knobs)
