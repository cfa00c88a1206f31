"""Checks of what training computes: losses, and the steps of the optimizers.

experiment: as in `recipes.py`. Each check returns AS_STATED, or says what is otherwise.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_archs import models
from cnn_archs.claims.checks import formulas
from cnn_archs.claims.checks.formulas import Array
from cnn_archs.claims.checks.observed import (
    SEED,
    Otherwise,
    compare,
    function_check,
    normal,
    observe,
    quick_jit,
    wide,
)
from cnn_archs.claims.checks.recipes import settings_of
from cnn_archs.claims.checks.small import SMALL
from cnn_archs.models.network import Network
from cnn_archs.optim import gauss_newton, losses, optimizers
from cnn_archs.optim.recipe import Rules
from cnn_archs.training import steps

CLASSES = 10


def rules_of(experiment: str) -> Rules:
    """Return the rules of an experiment, an epoch of which is one step."""
    return settings_of(experiment).recipe.make_rules(1.0)


def scores(rows: int) -> tuple[Array, Array]:
    """Draw logits f64[rows, CLASSES], as float32 has them, and labels int[rows]."""
    random = np.random.default_rng(SEED)
    logits = 2.0 * normal(random, rows, CLASSES)
    return logits, random.integers(0, CLASSES, rows)


def taken_steps(experiment: str, w: Array, gradients: Array, rates: Sequence[float]) -> list[Array]:
    """Return how far each step of an experiment's optimizer moves the weights w: f64[K, F].

    gradients: f64[steps, K, F]. Raises Otherwise if the rates of the steps are not `rates`.
    """
    optimizer = rules_of(experiment).optimizer

    @quick_jit
    def step(params: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, params, error=jnp.float32(1.0))
        return optax.apply_updates(params, updates), state

    params: Any = {"layer": {"kernel": w.astype(np.float32)}}
    state, moves = optimizer.init(params), []
    for number, (rate, g) in enumerate(zip(rates, gradients, strict=True), start=1):
        before = wide(params["layer"]["kernel"])
        params, state = step(params, state, {"layer": {"kernel": g.astype(np.float32)}})
        moves.append(wide(params["layer"]["kernel"]) - before)
        if abs(float(state.learning_rate) - rate) > 1e-6 * rate:
            raise Otherwise(f"the rate of step {number} is {float(state.learning_rate):g}")
    return moves


@function_check
def momentum_steps(
    experiment: str, momentum: float, weight_decay: float, rates: Sequence[float]
) -> None:
    """Check v <- momentum v - weight_decay e w - e g, w <- w + v, one step for each rate e."""
    random = np.random.default_rng(SEED)
    w, gradients = normal(random, 3, 5), normal(random, len(rates), 3, 5)
    moves, v = taken_steps(experiment, w, gradients, rates), np.zeros_like(w)
    for number, (e, g, moved) in enumerate(zip(rates, gradients, moves, strict=True), start=1):
        v = momentum * v - weight_decay * e * w - e * g
        w = w + v
        compare(moved, v, f"step {number}")


@function_check
def rmsprop_steps(experiment: str, decay: float, epsilon: float, rates: Sequence[float]) -> None:
    """Check s <- decay s + (1 - decay) g^2, w <- w - e g / sqrt(s + epsilon), for each rate e.

    s begins at 1, as in the papers' releases.
    """
    random = np.random.default_rng(SEED)
    w, gradients = normal(random, 3, 5), normal(random, len(rates), 3, 5)
    moves, s = taken_steps(experiment, w, gradients, rates), np.ones_like(w)
    for number, (e, g, moved) in enumerate(zip(rates, gradients, moves, strict=True), start=1):
        s = decay * s + (1 - decay) * g**2
        compare(moved, -e * g / np.sqrt(s + epsilon), f"step {number}")


@function_check
def second_order_steps(experiment: str, mu: float, rate: float) -> None:
    """Check w_k <- w_k - rate / (mu + h_kk) g_k."""
    random = np.random.default_rng(SEED)
    g, h = normal(random, 3, 5), 0.1 * normal(random, 3, 5) ** 2
    optimizer = rules_of(experiment).optimizer

    @quick_jit
    def step(gradient: Any, curvature: Any) -> Any:
        params = jax.tree.map(jnp.zeros_like, gradient)
        state = optimizers.set_curvature(optimizer.init(params), curvature)
        return optimizer.update(gradient, state, params, error=jnp.float32(1.0))[0]

    found = step(*({"layer": {"kernel": of.astype(np.float32)}} for of in (g, h)))
    compare(found["layer"]["kernel"], -rate / (mu + h) * g, "the step")


@function_check
def curvatures(net: str) -> None:
    """Check h_kk of S4, C5 and F6 by the recursion of appendix C, for the criterion y_D.

    In each layer, h_kk is the mean over images of the sum, over the connections that share the
    weight, of d2E/da_i^2 x_j^2.
    """
    seen = observe(SMALL[net])
    params: dict[str, Any] = {
        layer: {name: value.astype(np.float32) for name, value in of.items()}
        for layer, of in seen.variables.items()
    }
    model = models.create(SMALL[net].model)
    label = jnp.arange(len(seen.image)) % CLASSES
    diagonal = gauss_newton.gauss_newton_diagonal(model, losses.rbf_mean())

    @quick_jit
    def last_layers(*arguments: Any) -> Any:  # XLA drops what the others need
        found = diagonal(*arguments)
        return {layer: found[layer] for layer in ("S4", "C5", "F6")}

    found = last_layers(params, seen.image.astype(np.float32), label)

    s4, c5, f6 = (seen.call(layer) for layer in ("S4", "C5", "F6"))
    a5 = c5.y.reshape(len(c5.y), -1)
    a6 = f6.y.reshape(len(f6.y), -1)
    h6 = formulas.squash_slope(a6) ** 2 * 2.0  # y_D is a sum of squares of x_j - w_j
    h5 = formulas.squash_slope(a5) ** 2 * (h6 @ seen.of("F6", "kernel").T ** 2)
    h4 = np.einsum("nk,hwck->nhwc", h5, seen.of("C5", "kernel") ** 2)
    h4 = formulas.squash_slope(s4.y) ** 2 * h4
    stated = {
        ("F6", "kernel"): np.einsum("nk,nj->jk", h6, f6.x.reshape(len(a5), -1) ** 2),
        ("F6", "bias"): h6.sum(0),
        ("C5", "kernel"): np.einsum("nk,nhwc->hwck", h5, c5.x**2),
        ("C5", "bias"): h5.sum(0),
        ("S4", "coefficient"): (h4 * formulas.sum_pool(s4.x**2, 2, 2)).sum((0, 1, 2)),
        ("S4", "bias"): h4.sum((0, 1, 2)),
    }
    for (layer, name), total in stated.items():
        compare(found[layer][name], total / len(label), f"h of {layer}'s {name}")


@function_check
def criterion(experiment: str, formula: str, j: float = 0.0) -> None:
    """Check the loss of each example.

    formula: `mean`, y_D (LeCun et al. 1998, equation 8); `map`, y_D + log(e^-j + sum_i e^-y_i)
    (equation 9); or `softmax`, -log of the label's probability. The logits are -y.
    """
    logits, label = scores(6)
    y = -logits
    of_label = y[np.arange(len(y)), label]
    stated = {
        "mean": of_label,
        "map": of_label + np.log(np.exp(-j) + np.exp(-y).sum(-1)),
        "softmax": formulas.cross_entropy(logits, label),
    }[formula]
    loss = quick_jit(rules_of(experiment).loss)
    compare(loss(logits.astype(np.float32), label), stated, "the loss")


@function_check
def plateaus(experiment: str, rate: float, factor: float, drops: int) -> None:
    """Check that the rate stays while the validation error falls, and is multiplied when it stops.

    It starts at `rate` and is multiplied by `factor` at most `drops` times. How many evaluations
    without a lower error that takes is not checked, since no paper prints it.
    """
    schedule = rules_of(experiment).schedule

    @quick_jit
    def after(errors: jax.Array) -> Any:
        def evaluate(memory: Any, error: jax.Array) -> Any:
            memory = schedule.after_evaluation(memory, error)
            return memory, schedule.rate(memory, jnp.int32(0))

        return jax.lax.scan(evaluate, schedule.init(), errors)[1]

    errors = np.concatenate([np.linspace(0.9, 0.4, 20), np.full(80, 0.4)])
    found = wide(after(errors.astype(np.float32)))
    compare(found[:20], np.full(20, rate), "the rate while the error falls")
    if (np.diff(found) > 0).any():
        raise Otherwise("the rate rises")
    lower = np.array(sorted(set(found.tolist()), reverse=True))
    compare(lower, rate * factor ** np.arange(drops + 1), "the sequence of rates")


class Heads(Network):
    """A network whose outputs are its parameters."""

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Return the logits of three heads."""
        names = ("logits", "aux_4a", "aux_4d")
        return {name: self.get_variable("params", name) for name in names}


@function_check
def auxiliary_losses(experiment: str, share: float) -> None:
    """Check that the loss is that of the classifier, and `share` of each auxiliary one's."""
    recipe = settings_of(experiment).recipe
    logits, label = scores(12)
    rows = dict(zip(("logits", "aux_4a", "aux_4d"), np.split(logits, 3), strict=True))
    label = label[: len(rows["logits"])]

    @quick_jit
    def loss(params: Any, label: jax.Array, key: jax.Array) -> Any:
        image = jnp.zeros((len(label), 1, 1, 1))
        settings = (recipe.loss, recipe.auxiliary)
        return steps.make_loss_fn(Heads(), *settings, {}, image, label, key)(params)[0]

    params = {name: row.astype(np.float32) for name, row in rows.items()}
    total = loss(params, label, jax.random.key(0))
    main, *others = (formulas.cross_entropy(row, label).mean() for row in rows.values())
    compare(total, np.asarray(main + share * sum(others)), "the loss")


LEARNING_FUNCTIONS = (
    *(momentum_steps, rmsprop_steps, second_order_steps, curvatures, criterion, plateaus),
    auxiliary_losses,
)
