"""Optimizers: the papers' equations as optax chains, line by line."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def momentum(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """v <- mu v - lr (g + wd w);  w <- w + v. The rate is inside the velocity (AlexNet, Caffe)."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),  # g + wd w
        optax.scale_by_learning_rate(schedule),  # -lr (...)
        optax.trace(momentum),  # mu v + ...
    )


def adam(
    schedule: optax.Schedule, *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
    """Kingma & Ba 2015, algorithm 1."""
    return optax.adam(schedule, b1=b1, b2=b2, eps=eps)


class SDLMState(NamedTuple):
    """step: i32[], steps made; curvature: h_kk, a tree like the parameters."""

    step: jax.Array
    curvature: optax.Updates


def sdlm(
    schedule: optax.Schedule, *, mu: float, samples: int
) -> optax.GradientTransformationExtraArgs:
    """w_k <- w_k - eta / (mu + h_kk) g_k: the stochastic diagonal Levenberg-Marquardt method.

    LeNet-5 1998, appendix C. `curvature`, an extra argument of update, replaces the h_kk in the
    state; `refresh` does that between steps. They come from `curvature.py`, out of `samples`
    examples before each pass, and are 0 before the first.
    """
    del samples  # whoever refreshes the curvature reads it

    def init(params: optax.Params) -> SDLMState:
        return SDLMState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None, *, curvature=None, **extra):
        del params, extra
        h = state.curvature if curvature is None else curvature
        eta = schedule(state.step)
        updates = jax.tree.map(lambda g, h: -eta / (mu + h) * g, updates, h)
        return updates, SDLMState(state.step + 1, h)

    return optax.GradientTransformationExtraArgs(init, update)


def refresh(opt_state: SDLMState, curvature: optax.Updates) -> SDLMState:
    """`opt_state` with new h_kk."""
    return opt_state._replace(curvature=curvature)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "momentum": momentum,
    "adam": adam,
    "sdlm": sdlm,
}


def create(name: str, schedule: optax.Schedule, **knobs: Any) -> optax.GradientTransformation:
    """The optimizer `name`, following `schedule`."""
    return OPTIMIZERS[name](schedule, **knobs)
