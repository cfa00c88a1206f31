"""Learning rates, by step from 0 and, where a paper says so, by what training has shown so far.

In epochs, step k is at epoch k B / N. What a schedule remembers, its rates among it, is a part of
the optimizer's state: checkpointed, the same on every process, and no part of the compiled program,
so that networks that are trained together may have rates of their own.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

ScheduleState = Any  # a tree of arrays


def keep_state(memory: ScheduleState, error: jax.Array) -> ScheduleState:
    """The memory of a schedule that the error does not concern."""
    return memory


@dataclasses.dataclass(frozen=True)
class Schedule:
    """rate(memory, step i32[]) -> f32[], and what `memory` becomes.

    init: the memory before the first step, new arrays at each call; all that comes from
    `learning_rate` is in it. after_step(memory, error): with the training error of
    the step's batch, f32[]. after_evaluation(memory, error): with the held-out error, f32[], where
    `evaluated` says that the schedule needs it. Errors are fractions.
    """

    rate: Callable[[ScheduleState, jax.Array], jax.Array]
    init: Callable[[], ScheduleState]
    after_step: Callable[[ScheduleState, jax.Array], ScheduleState] = keep_state
    after_evaluation: Callable[[ScheduleState, jax.Array], ScheduleState] = keep_state
    needs_validation: bool = False


def scaled_factor(learning_rate: float, factor: optax.Schedule) -> Schedule:
    """`learning_rate` times a factor that depends on the step alone."""
    return Schedule(
        rate=lambda memory, step: memory * factor(step), init=lambda: jnp.float32(learning_rate)
    )


# (pass from 1 at which the rate starts, rate)
LENET5 = {
    # Section III.B, as printed.
    "lenet5_paper1998": ((1, 5e-4), (3, 2e-4), (6, 1e-4), (9, 5e-5), (13, 1e-5)),
    # The lecture notes: a ten times larger start, and the step at 0.0001 left out.
    "lenet5_notes": ((1, 5e-3), (3, 2e-4), (6, 5e-5), (10, 1e-5)),
    # The textbook the notes follow: epochs 0-2, 3-5, 6-9, then the rest.
    "lenet5_book": ((1, 5e-4), (4, 2e-4), (7, 5e-5), (11, 1e-5)),
}


def constant(steps_per_epoch: float, *, learning_rate: float) -> Schedule:
    """Always `learning_rate`."""
    return scaled_factor(learning_rate, optax.constant_schedule(1.0))


def piecewise(
    steps_per_epoch: float,
    *,
    learning_rate: float,
    factors: tuple[float, ...],
    boundaries: tuple[float, ...],
    unit: str,
) -> Schedule:
    """learning_rate * factors[i] from boundaries[i-1] on; boundaries in `unit`, step or epoch."""
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
    """learning_rate * factor^(t / every), t in `unit`; `staircase`: the whole part of t / every."""
    period = every * steps_per_unit(unit, steps_per_epoch)
    decay = optax.exponential_decay(
        1.0, transition_steps=period, decay_rate=factor, staircase=staircase
    )
    return scaled_factor(learning_rate, decay)


def lenet5_table(name: str) -> Callable[[float], Schedule]:
    """One of the LENET5 tables."""

    def schedule(steps_per_epoch: float) -> Schedule:
        starts, rates = zip(*LENET5[name], strict=True)
        boundaries = tuple(first_step(s - 1, "epoch", steps_per_epoch) for s in starts[1:])
        return piecewise_rates(rates, boundaries)

    return schedule


def piecewise_rates(rates: tuple[float, ...], boundaries: tuple[int, ...]) -> Schedule:
    """rates[i] from step boundaries[i-1] on; the printed values themselves, not products."""
    if list(boundaries) != sorted(boundaries):
        raise ValueError(f"schedule: boundaries {boundaries} are not in order")
    edges = jnp.asarray(boundaries, jnp.int32)
    return Schedule(
        rate=lambda memory, step: memory[jnp.searchsorted(edges, step, side="right")],
        init=lambda: jnp.asarray(rates, jnp.float32),
    )


class PlateauState(NamedTuple):
    """rates: f32[drops + 1]; best: f32[], the lowest held-out error; waited: i32[], evaluations
    since; drops: i32[]."""

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
    """learning_rate times `factor` whenever the held-out error stops improving, `drops` times.

    It has stopped when `patience` evaluations in a row are not lower than the lowest before them
    by more than `improvement` (a fraction: 0.001 is 0.1 points). AlexNet section 5, VGG 3.1, ResNet
    3.4. optax's `reduce_on_plateau` has no limit and is fed every step.
    """
    if drops < 0 or patience < 1 or improvement < 0:
        raise ValueError("schedule: drops and improvement cannot be negative, patience at least 1")
    rates = [learning_rate * factor**i for i in range(drops + 1)]

    def after_evaluation(memory: PlateauState, error: jax.Array) -> PlateauState:
        improved = error < memory.best - improvement
        waited = jnp.where(improved, 0, memory.waited + 1)
        drop = (waited >= patience) & (memory.drops < drops)
        return memory._replace(
            best=jnp.where(improved, error, memory.best),
            waited=jnp.where(drop, 0, waited),
            drops=memory.drops + drop,
        )

    return Schedule(
        rate=lambda memory, step: memory.rates[memory.drops],
        init=lambda: PlateauState(
            jnp.asarray(rates, jnp.float32), jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(0)
        ),
        after_evaluation=after_evaluation,
        needs_validation=True,
    )


def no_warmup(steps_per_epoch: float, schedule: Schedule) -> Schedule:
    """`schedule` from the first step on."""
    return schedule


def linear_warmup(
    steps_per_epoch: float, schedule: Schedule, *, start: float, length: float, unit: str
) -> Schedule:
    """`schedule` times a factor that grows from `start` to 1 over `length`, in `unit`."""
    end = first_step(length, unit, steps_per_epoch)
    factor = optax.linear_schedule(start, 1.0, end) if end else optax.constant_schedule(1.0)
    return dataclasses.replace(
        schedule, rate=lambda memory, step: schedule.rate(memory, step) * factor(step)
    )


class ErrorWarmupState(NamedTuple):
    """errors: f32[window], of the last batches; seen: i32[], batches; over: bool[]; inner: the
    memory of the schedule after it."""

    errors: jax.Array
    seen: jax.Array
    over: jax.Array
    inner: ScheduleState


def error_warmup(
    steps_per_epoch: float, schedule: Schedule, *, learning_rate: float, error: float, window: int
) -> Schedule:
    """`learning_rate` until the training error of the last `window` steps is below `error`.

    From then on `schedule`, at the step that it is: boundaries stay where they are. ResNet-110
    (He et al. 2015, section 4.2): 0.01 until it is below 80 %, about 400 iterations.
    """
    if window < 1:
        raise ValueError("warmup.window: at least 1 step")

    def after_step(memory: ErrorWarmupState, now: jax.Array) -> ErrorWarmupState:
        errors = memory.errors.at[memory.seen % window].set(now)
        seen = memory.seen + 1
        over = memory.over | ((seen >= window) & (errors.mean() < error))
        return ErrorWarmupState(errors, seen, over, schedule.after_step(memory.inner, now))

    def after_evaluation(memory: ErrorWarmupState, now: jax.Array) -> ErrorWarmupState:
        return memory._replace(inner=schedule.after_evaluation(memory.inner, now))

    def rate(memory: ErrorWarmupState, step: jax.Array) -> jax.Array:
        return jnp.where(memory.over, schedule.rate(memory.inner, step), learning_rate)

    def init() -> ErrorWarmupState:
        errors = jnp.zeros((window,), jnp.float32)
        return ErrorWarmupState(errors, jnp.int32(0), jnp.bool_(False), schedule.init())

    return Schedule(rate, init, after_step, after_evaluation, schedule.needs_validation)


def steps_per_unit(unit: str, steps_per_epoch: float) -> float:
    if unit not in ("step", "epoch"):
        raise ValueError(f"schedule.unit is {unit!r}, not 'step' or 'epoch'")
    return 1.0 if unit == "step" else steps_per_epoch


def first_step(t: float, unit: str, steps_per_epoch: float) -> int:
    """The first step that starts at `t` or later, to a millionth of a step: 1.1 epochs of 100."""
    return math.ceil(round(t * steps_per_unit(unit, steps_per_epoch), 6))


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
    """The schedule `name`; ValueError where its knobs do not fit together."""
    return SCHEDULES[name](steps_per_epoch, **knobs)


def add_warmup(schedule: Schedule, name: str, steps_per_epoch: float, **knobs: Any) -> Schedule:
    """`schedule` with the warm-up `name` before it; ValueError as for `create`."""
    return WARMUPS[name](steps_per_epoch, schedule, **knobs)
