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
    held-out images, f32[]; needs_validation is True for schedules that use it. Errors are
    fractions.
    """

    rate: Callable[[ScheduleState, jax.Array], jax.Array]
    init: Callable[[], ScheduleState]
    after_step: Callable[[ScheduleState, jax.Array], ScheduleState] = keep_state
    after_evaluation: Callable[[ScheduleState, jax.Array], ScheduleState] = keep_state
    needs_validation: bool = False


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
) -> Schedule:
    """Return learning_rate * factors[i] from boundaries[i-1] on.

    boundaries: in increasing order. unit: theirs, "step" or "epoch". Raises ValueError unless there
    is one factor more than boundaries.
    """
    if len(factors) != len(boundaries) + 1:
        raise ValueError(
            f"schedule: {len(boundaries)} boundaries need {len(boundaries) + 1} factors, "
            f"not {len(factors)}"
        )
    rates = tuple(learning_rate * f for f in factors)
    return piecewise_rates(rates, tuple(first_step(b, unit, steps_per_epoch) for b in boundaries))


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


def no_warmup(steps_per_epoch: float, schedule: Schedule) -> Schedule:
    """Return `schedule` unchanged."""
    return schedule


def linear_warmup(
    steps_per_epoch: float, schedule: Schedule, *, start: float, length: float, unit: str
) -> Schedule:
    """Multiply `schedule` by a factor that grows linearly from `start` to 1 over `length`.

    unit: that of `length`, "step" or "epoch".
    """
    end = first_step(length, unit, steps_per_epoch)
    factor = optax.linear_schedule(start, 1.0, end) if end else optax.constant_schedule(1.0)
    return dataclasses.replace(
        schedule, rate=lambda state, step: schedule.rate(state, step) * factor(step)
    )


class ErrorWarmupState(NamedTuple):
    """The state of `error_warmup`.

    errors: f32[window], training errors of the last batches. seen: i32[], number of batches so far.
    over: bool[], whether the warm-up is over. inner: the state of the schedule after it.
    """

    errors: jax.Array
    seen: jax.Array
    over: jax.Array
    inner: ScheduleState


def error_warmup(
    steps_per_epoch: float, schedule: Schedule, *, learning_rate: float, error: float, window: int
) -> Schedule:
    """Use `learning_rate` until the training error is below `error`, a fraction.

    The training error is the mean over the last `window` steps. From then on use `schedule`, whose
    boundaries are not shifted. ResNet-110 (He et al. 2015, section 4.2) uses 0.01 until the error
    is below 80 %, for about 400 iterations.
    """

    def after_step(state: ErrorWarmupState, now: jax.Array) -> ErrorWarmupState:
        errors = state.errors.at[state.seen % window].set(now)
        seen = state.seen + 1
        over = state.over | ((seen >= window) & (errors.mean() < error))
        return ErrorWarmupState(errors, seen, over, schedule.after_step(state.inner, now))

    def after_evaluation(state: ErrorWarmupState, now: jax.Array) -> ErrorWarmupState:
        return state._replace(inner=schedule.after_evaluation(state.inner, now))

    def rate(state: ErrorWarmupState, step: jax.Array) -> jax.Array:
        return jnp.where(state.over, schedule.rate(state.inner, step), learning_rate)

    def init() -> ErrorWarmupState:
        errors = jnp.zeros((window,), jnp.float32)
        return ErrorWarmupState(errors, jnp.int32(0), jnp.bool_(False), schedule.init())

    return Schedule(rate, init, after_step, after_evaluation, schedule.needs_validation)


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
WARMUPS: dict[str, Callable[..., Schedule]] = {
    "none": no_warmup,
    "linear": linear_warmup,
    "error": error_warmup,
}


def create(name: str, steps_per_epoch: float, **knobs: Any) -> Schedule:
    """Return the schedule `name`. Raises ValueError if its knobs do not fit together."""
    return SCHEDULES[name](steps_per_epoch, **knobs)


def add_warmup(schedule: Schedule, name: str, steps_per_epoch: float, **knobs: Any) -> Schedule:
    """Return `schedule` after the warm-up `name`. Raises ValueError as `create` does."""
    return WARMUPS[name](steps_per_epoch, schedule, **knobs)
