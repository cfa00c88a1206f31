"""Optimizers: the papers' equations as optax chains.

In the equations w is a weight, g its gradient, v its velocity, lr the learning rate, wd the weight
decay and mu the momentum.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_archs.optim.schedules import Schedule, ScheduleState

Mask = Callable[[optax.Params], Any]


def scale_by_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Multiply updates by -learning_rate, an extra argument of `update`.

    Those of biases are multiplied by -bias_learning_rate instead, unless that is None.
    """

    def update(updates, state, params=None, *, learning_rate, bias_learning_rate, **extra):
        del params, extra
        if bias_learning_rate is None:
            return jax.tree.map(lambda u: -learning_rate * u, updates), state
        rates = {"bias": bias_learning_rate}
        groups = parameter_groups(updates)
        return jax.tree.map(lambda u, g: -rates.get(g, learning_rate) * u, updates, groups), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def momentum(
    *, momentum: float, weight_decay: float, decayed: str, bias_rate: float
) -> optax.GradientTransformation:
    """v <- mu v - lr (g + wd w);  w <- w + v, as in AlexNet and Caffe.

    The learning rate is inside the velocity, so a new rate does not change the old velocity.
    bias_rate: factor of the learning rate for biases. decayed: see `weight_decay_mask`.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=weight_decay_mask(decayed)),  # g + wd w
        scale_by_learning_rate(),  # -lr (...)
        scale_biases(bias_rate),
        optax.trace(momentum),  # mu v + ...
    )


def torch_momentum(
    *, momentum: float, weight_decay: float, decayed: str, bias_rate: float, nesterov: bool
) -> optax.GradientTransformation:
    """v <- mu v + g + wd w;  w <- w - lr v, as in torch.

    A new learning rate scales the old velocity too. nesterov: w <- w - lr (g + wd w + mu v), as in
    fb.resnet.torch. The other arguments are those of `momentum`.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=weight_decay_mask(decayed)),  # g + wd w
        optax.trace(momentum, nesterov=nesterov),  # mu v + ...
        scale_by_learning_rate(),  # -lr v
        scale_biases(bias_rate),
    )


def adam(*, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015, algorithm 1)."""
    return optax.chain(optax.scale_by_adam(b1=b1, b2=b2, eps=eps), scale_by_learning_rate())


def rmsprop(
    *, decay: float, eps: float, momentum: float, weight_decay: float, decayed: str, clip: float
) -> optax.GradientTransformation:
    """s <- rho s + (1 - rho) g^2;  v <- mu v - lr g / sqrt(s + eps);  w <- w + v.

    This is TensorFlow's form, which trained Inception-v3: eps is inside the root, and s begins at
    1. clip: limit of the global gradient norm, applied before weight decay is added; 0 means none.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        optax.add_decayed_weights(weight_decay, mask=weight_decay_mask(decayed)),
        optax.scale_by_rms(decay=decay, eps=eps, initial_scale=1.0, eps_in_sqrt=True),
        scale_by_learning_rate(),
        optax.trace(momentum),
    )


def parameter_groups(params: optax.Params) -> Any:
    """Return a tree like `params` with "weight", "bias" (in a layer with a kernel) or "norm"."""

    def group(name: str, value: Any, layer: Any) -> Any:
        if hasattr(value, "items"):
            return {k: group(k, v, value) for k, v in value.items()}
        if name == "kernel":
            return "weight"
        return "bias" if name == "bias" and "kernel" in layer else "norm"

    return group("", params, {})


def weight_decay_mask(decayed: str) -> Mask | None:
    """Return the mask of parameters that weight decay applies to, None for all.

    decayed: "all", or "weights" for kernels only.
    """
    if decayed == "all":
        return None
    return lambda params: jax.tree.map(lambda g: g == "weight", parameter_groups(params))


def scale_biases(rate: float) -> optax.GradientTransformation:
    """Multiply the updates of biases by `rate`; Caffe's recipes use 2."""

    def mask(params: optax.Params) -> Any:
        return jax.tree.map(lambda g: g == "bias", parameter_groups(params))

    return optax.identity() if rate == 1.0 else optax.masked(optax.scale(rate), mask)


def sdlm(*, mu: float, samples: int) -> optax.GradientTransformationExtraArgs:
    """w_k <- w_k - lr / (mu + h_kk) g_k, the stochastic diagonal Levenberg-Marquardt method.

    LeNet-5 1998, appendix C. The state is h_kk, a tree like the parameters, 0 at first. Before each
    epoch the trainer computes it by `gauss_newton.py` from `samples` examples, and passes it to
    `set_curvature`. mu: limits the learning rate where the curvature is small.
    """

    def update(updates, h, params=None, *, learning_rate, **extra):
        del params, extra
        return jax.tree.map(lambda g, h: -learning_rate / (mu + h) * g, updates, h), h

    return optax.GradientTransformationExtraArgs(
        lambda params: jax.tree.map(jnp.zeros_like, params), update
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "momentum": momentum,
    "torch_momentum": torch_momentum,
    "adam": adam,
    "rmsprop": rmsprop,
    "sdlm": sdlm,
}


class OptimizerState(NamedTuple):
    """The state of an optimizer with its schedule.

    step: i32[], number of updates so far. learning_rate: f32[], that of the last update. memory:
    the state of the schedule. equation: the state of the optax chain.
    """

    step: jax.Array
    learning_rate: jax.Array
    memory: ScheduleState
    equation: optax.OptState


def create(name: str, schedule: Schedule, **knobs: Any) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer `name`, whose learning rate follows `schedule`.

    Its `update` takes an extra argument `error`, the training error of the batch, f32[], as a
    fraction. Raises ValueError for an optimizer that has no rate of its own for biases.
    """
    if schedule.bias_rate and name == "sdlm":
        raise ValueError("schedule: bias_factors are not for the optimizer sdlm")
    equation = optax.with_extra_args_support(OPTIMIZERS[name](**knobs))

    def init(params: optax.Params) -> OptimizerState:
        step, rate = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32)
        return OptimizerState(step, rate, schedule.init(), equation.init(params))

    def update(updates, state, params=None, *, error, **extra):
        rate = jnp.asarray(schedule.rate(state.memory, state.step), jnp.float32)
        biases = schedule.bias_rate(state.memory, state.step) if schedule.bias_rate else None
        updates, equation_state = equation.update(
            updates,
            state.equation,
            params,
            learning_rate=rate,
            bias_learning_rate=biases,
            **extra,
        )
        memory = schedule.after_step(state.memory, error)
        return updates, OptimizerState(state.step + 1, rate, memory, equation_state)

    return optax.GradientTransformationExtraArgs(init, update)


def report_validation_error(
    schedule: Schedule, state: OptimizerState, error: jax.Array
) -> OptimizerState:
    """Return `state` after an evaluation with the error on held-out images, f32[], a fraction."""
    return state._replace(memory=schedule.after_evaluation(state.memory, error))


def set_curvature(state: OptimizerState, curvature: optax.Updates) -> OptimizerState:
    """Return the state of `sdlm` with `curvature` as its new h_kk."""
    return state._replace(equation=curvature)
