"""Warm-ups: changes of a learning rate schedule at the beginning of a training."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_archs.optim.schedules import Schedule, ScheduleState, first_step


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
        schedule,
        rate=lambda state, step: schedule.rate(state, step) * factor(step),
        bias_rate=of_biases(schedule, lambda rate, step: rate * factor(step)),
    )


def of_biases(
    schedule: Schedule, change: Callable[[jax.Array, jax.Array], jax.Array]
) -> Callable[[ScheduleState, jax.Array], jax.Array] | None:
    """Return the rate of biases of `schedule` after change(rate, step), or None if it has none."""
    if schedule.bias_rate is None:
        return None
    own = schedule.bias_rate
    return lambda state, step: change(own(state, step), step)


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

    def bias_rate(state: ErrorWarmupState, step: jax.Array) -> jax.Array:
        assert schedule.bias_rate
        return jnp.where(state.over, schedule.bias_rate(state.inner, step), learning_rate)

    def init() -> ErrorWarmupState:
        errors = jnp.zeros((window,), jnp.float32)
        return ErrorWarmupState(errors, jnp.int32(0), jnp.bool_(False), schedule.init())

    own = bias_rate if schedule.bias_rate else None
    return Schedule(rate, init, after_step, after_evaluation, schedule.needs_validation, own)


WARMUPS: dict[str, Callable[..., Schedule]] = {
    "none": no_warmup,
    "linear": linear_warmup,
    "error": error_warmup,
}


def add_warmup(schedule: Schedule, name: str, steps_per_epoch: float, **knobs: Any) -> Schedule:
    """Return `schedule` after the warm-up `name`. Raises ValueError as `create` does."""
    return WARMUPS[name](steps_per_epoch, schedule, **knobs)
